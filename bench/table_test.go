package main

import (
	"strings"
	"testing"
)

func TestTableGivesTheMedianOfTheRatiosOfEachRun(t *testing.T) {
	tab := table{names: [2]string{"ours", "theirs"}, lines: []tableLine{
		{work: "call", unit: "us", bar: 0.7, values: [2][]float64{{10, 30, 20}, {20, 30, 80}}},
		{work: "alone", unit: "us", bar: 0.7, values: [2][]float64{nil, {20}}},
		{work: "too dear", unit: "us", bar: 0.7, values: [2][]float64{{2}, {1}}},
	}}
	var b strings.Builder
	if err := tab.print(&b, true); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"| call | us | 20.0 | 30.0 | 0.50 | 0.25 | 1.00 | 0.70 | met |",
		"| alone | us | - | 20.0 | - | - | - | 0.70 |  |",
		"| too dear | us | 2.0 | 1.0 | 2.00 | 2.00 | 2.00 | 0.70 | missed |",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
}

func TestReadyLine(t *testing.T) {
	addr, err := readyAddress("ready sip=tcp:127.0.0.1:5060,udp:127.0.0.1:5070 web=http://127.0.0.1:8080\n")
	if err != nil || addr.String() != "127.0.0.1:5070" {
		t.Errorf("%v, %v", addr, err)
	}
	if addr, err := readyAddress("ready web=http://127.0.0.1:8080\n"); err == nil {
		t.Errorf("found %v", addr)
	}
}
