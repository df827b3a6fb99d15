package main

import (
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// The operator's guide is what scripts are written from: it names every command, every option and every JSON field.
func TestGuideNamesEverything(t *testing.T) {
	text, err := os.ReadFile("../../docs/operator.md")
	if err != nil {
		t.Fatal(err)
	}
	guide := string(text)
	var walk func(cmd *cobra.Command)
	seen := map[string]bool{}
	walk = func(cmd *cobra.Command) {
		if seen[cmd.CommandPath()] {
			t.Errorf("%q is there twice", cmd.CommandPath())
		}
		seen[cmd.CommandPath()] = true
		if !strings.Contains(guide, "`"+cmd.CommandPath()) {
			t.Errorf("the operator's guide does not show %q", cmd.CommandPath())
		}
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			if !strings.Contains(guide, "--"+f.Name) {
				t.Errorf("the operator's guide does not show --%s of %q", f.Name, cmd.CommandPath())
			}
		})
		for _, sub := range cmd.Commands() {
			walk(sub)
		}
	}
	for _, cmd := range (&cli{}).root().Commands() {
		if cmd.HasSubCommands() && !cmd.HasFlags() {
			for _, sub := range cmd.Commands() {
				walk(sub)
			}
			continue
		}
		walk(cmd)
	}
	for noun, result := range map[string]any{"subscriber": subscriberResult{}, "account": accountResult{}, "binding": bindingResult{}, "record": recordResult{}} {
		_, row, ok := strings.Cut(guide, "\n| "+noun+" | `")
		row, _, _ = strings.Cut(row, "\n")
		if !ok {
			t.Errorf("the operator's guide has no row for the JSON of a %s", noun)
		}
		row = "`" + row
		for _, f := range reflect.VisibleFields(reflect.TypeOf(result)) {
			if name := f.Tag.Get("json"); !strings.Contains(row, "`"+name+"`") {
				t.Errorf("the operator's guide does not show %s of a %s", name, noun)
			}
		}
	}
}
