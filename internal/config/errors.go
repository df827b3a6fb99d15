package config

import (
	"fmt"
	"strings"
)

// Error is one thing wrong with the file.
type Error struct {
	File string
	Line int
	Text string
}

func (e Error) Error() string {
	return fmt.Sprintf("%s:%d: %s", e.File, e.Line, e.Text)
}

// Errors are all things wrong with the file, in the order of their lines.
type Errors []Error

func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i := range e {
		lines[i] = e[i].Error()
	}
	return strings.Join(lines, "\n")
}
