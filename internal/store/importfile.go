package store

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"liaison/internal/account"
)

// RowError is what is wrong with one line of a file.
type RowError struct {
	Line int
	Err  error
}

func (e RowError) Error() string { return fmt.Sprintf("line %d: %v", e.Line, e.Err) }
func (e RowError) Unwrap() error { return e.Err }

// ImportError is everything that is wrong with a file, in the order of its lines. Nothing of the file was imported.
type ImportError []RowError

func (e ImportError) Error() string {
	lines := make([]string, len(e))
	for i := range e {
		lines[i] = e[i].Error()
	}
	return strings.Join(lines, "\n")
}

// importRow is one row as the file has it, with its defaults.
type importRow struct {
	line       int
	number     account.Number
	password   string
	kind       account.Kind
	subscriber string
}

// readImport reads a whole file: the header names the columns, in any order; those that are not known are given back
// in ignored. What spreadsheets make of CSV is taken: a byte order mark, CRLF, semicolons.
func readImport(r io.Reader) (rows []importRow, ignored []string, err error) {
	text, err := io.ReadAll(bufio.NewReader(r))
	if err != nil {
		return nil, nil, err
	}
	text = bytes.TrimPrefix(text, []byte("\ufeff"))
	header, _, _ := bytes.Cut(text, []byte("\n"))
	c := csv.NewReader(bytes.NewReader(text))
	c.FieldsPerRecord = -1 // told with the line, and without ending the reading
	c.ReuseRecord = true
	if bytes.Count(header, []byte(";")) > bytes.Count(header, []byte(",")) {
		c.Comma = ';'
	}

	names, err := c.Read()
	if errors.Is(err, io.EOF) {
		return nil, nil, ImportError{{1, errors.New("the file is empty: its first line must name the columns number and password")}}
	}
	if err != nil {
		return nil, nil, ImportError{{1, parseCause(err)}}
	}
	fields := len(names)
	column := map[string]int{}
	for i, name := range names {
		name = strings.ToLower(strings.TrimSpace(name))
		switch name {
		case "number", "password", "kind", "subscriber":
			if _, twice := column[name]; twice {
				return nil, nil, ImportError{{1, fmt.Errorf("the column %s stands twice", name)}}
			}
			column[name] = i
		default:
			ignored = append(ignored, name)
		}
	}
	for _, name := range []string{"number", "password"} {
		if _, ok := column[name]; !ok {
			return nil, nil, ImportError{{1, fmt.Errorf("the header has no column %s: the first line must name the columns, number,password and if you like kind,subscriber", name)}}
		}
	}

	var bad ImportError
	first := map[account.Number]importRow{}
	for {
		record, err := c.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		var parse *csv.ParseError
		if errors.As(err, &parse) {
			bad = append(bad, RowError{parse.StartLine, parseCause(err)})
			continue
		}
		if err != nil {
			return nil, nil, err
		}
		line, _ := c.FieldPos(0)
		row, err := readRow(record, fields, column)
		row.line = line
		if before, ok := first[row.number]; ok && err == nil {
			if before.line = row.line; before == row {
				continue // the same once more
			}
			err = fmt.Errorf("the number %s stands in line %d already, with something else", row.number, first[row.number].line)
		}
		if err != nil {
			bad = append(bad, RowError{line, err})
			continue
		}
		first[row.number] = row
		rows = append(rows, row)
	}
	if bad != nil {
		return rows, ignored, bad
	}
	return rows, ignored, nil
}

// parseCause takes off the line, which RowError says.
func parseCause(err error) error {
	var parse *csv.ParseError
	if errors.As(err, &parse) {
		return parse.Err
	}
	return err
}

func readRow(record []string, fields int, column map[string]int) (row importRow, err error) {
	// Excel cuts off empty fields at the end of a row, so a short row is one only if it lacks what it must have.
	if len(record) > fields {
		return row, fmt.Errorf("it has %d fields, and the header names %d", len(record), fields)
	}
	field := func(name string) string {
		if i, ok := column[name]; ok && i < len(record) {
			return record[i]
		}
		return ""
	}
	if row.number, err = account.ParseNumber(strings.TrimSpace(field("number"))); err != nil {
		return row, err
	}
	row.password = strings.Clone(field("password"))
	if err := account.CheckPassword(row.password); err != nil {
		return row, err
	}
	if kind := strings.ToLower(strings.TrimSpace(field("kind"))); kind != "" {
		if row.kind, err = account.ParseKind(kind); err != nil {
			return row, err
		}
	}
	row.subscriber = strings.Clone(strings.TrimSpace(field("subscriber")))
	if row.subscriber != "" {
		if !utf8.ValidString(row.subscriber) {
			return row, errors.New("the name of the subscriber is not UTF-8")
		}
		if err := checkName(row.subscriber); err != nil {
			return row, err
		}
	}
	row.number = account.Number(strings.Clone(string(row.number)))
	return row, nil
}
