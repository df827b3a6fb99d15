package config

import _ "embed"

//go:embed liaison.yaml
var example []byte

// Example is the commented reference file. A test holds it to the defaults and to the keys that there are.
func Example() []byte {
	return append([]byte(nil), example...)
}
