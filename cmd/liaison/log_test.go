package main

import (
	"context"
	"strings"
	"testing"

	"liaison/internal/config"
)

func TestLogKeepsToOneLine(t *testing.T) {
	for _, format := range []string{"text", "json"} {
		var out strings.Builder
		log := newLogger(&out, config.Log{Level: config.LevelTrace, Format: format})
		log.Log(context.Background(), config.LevelTrace, "registered", "agent", "x\r\nlevel=ERROR\x00\x1b[2J\u202e")
		got := out.String()
		if !strings.Contains(got, "TRACE") {
			t.Errorf("%s: the level has no name: %q", format, got)
		}
		if strings.Count(got, "\n") != 1 || strings.ContainsAny(got, "\r\x00\x1b") {
			t.Errorf("%s: more than one line, or bytes that drive a terminal: %q", format, got)
		}
	}
}

func TestTableKeepsToOneLine(t *testing.T) {
	var out strings.Builder
	c := &cli{out: &out}
	if err := c.printTable("NUMBER AGENT", [][]string{{"45675001", "a\nb\x1b[2J\u202e"}, {"45675002", ""}}); err != nil {
		t.Fatal(err)
	}
	want := "NUMBER    AGENT\n45675001  a\uFFFDb\uFFFD[2J\uFFFD\n45675002  -\n"
	if out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}
