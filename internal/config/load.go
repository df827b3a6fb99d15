package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// SystemFile is read where nothing names another one.
const SystemFile = "/etc/liaison/liaison.yaml"

// Find says which file holds the configuration: the one that was asked for, else $LIAISON_CONFIG, else the
// system's if it is there. An empty answer means that there is none and the defaults apply.
func Find(asked string) string {
	if asked != "" {
		return asked
	}
	if env := os.Getenv("LIAISON_CONFIG"); env != "" {
		return env
	}
	// A file that is there but cannot be looked at is not "no file": reading it will say why.
	if _, err := os.Stat(SystemFile); !errors.Is(err, fs.ErrNotExist) {
		return SystemFile
	}
	return ""
}

// Load reads the file, or takes the defaults if it has no name. A data folder that is given beats the file's.
func Load(file, data string) (*Config, error) {
	var text []byte
	if file != "" {
		var err error
		if text, err = os.ReadFile(file); err != nil {
			var path *fs.PathError
			if errors.As(err, &path) {
				err = path.Err
			}
			return nil, fmt.Errorf("%s: cannot be read: %w; give another file with --config", file, err)
		}
	}
	return parse(file, text, data)
}

// Parse reads a configuration; name is the file's, for errors.
func Parse(name string, text []byte) (*Config, error) {
	return parse(name, text, "")
}

func parse(name string, text []byte, data string) (*Config, error) {
	c := Default()
	c.SecretFile = "" // follows the data folder that the file or the command line names
	if errs := read(name, text, &c); len(errs) > 0 {
		return nil, errs
	}
	if data != "" {
		c.Data = data
	}
	c = c.derived()
	return &c, nil
}
