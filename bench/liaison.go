package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// liaison is our server, started as it is shipped.
type liaison struct {
	dir    string
	core   int
	binary string
	extra  string // further lines of configuration

	// imported are data folders with that many accounts in them: importing
	// is done once, each start works on a copy.
	imported map[int]string
}

func (k *liaison) name() string { return "liaison" }

// build makes the binary, unless one was given.
func (k *liaison) build(ctx context.Context) error {
	if k.binary != "" {
		return nil
	}
	binary := filepath.Join(k.dir, "liaison")
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", binary, "liaison/cmd/liaison")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build liaison/cmd/liaison: %w\n%s", err, bytes.TrimSpace(out))
	}
	k.binary = binary
	return nil
}

func (k *liaison) version() string {
	out, err := exec.Command(k.binary, "version").Output()
	if err != nil {
		return "unknown"
	}
	line, _, _ := strings.Cut(string(out), "\n")
	return strings.TrimPrefix(line, "liaison ")
}

// config is what the measurement needs to differ from the defaults: loopback
// only, no relay, and the generator's address under no limit.
func (k *liaison) config() (string, error) {
	name := filepath.Join(k.dir, "liaison.yaml")
	text := "sip:\n  udp: [\"127.0.0.1:0\"]\n  tcp: []\nstun: {listen: []}\n" +
		"web:\n  listen: [\"127.0.0.1:0\"]\n" +
		"media:\n  policy: direct\n" +
		"limits:\n  trusted: [127.0.0.1/32]\n" + k.extra
	return name, os.WriteFile(name, []byte(text), 0o600)
}

// data gives a fresh data folder with the accounts in it.
func (k *liaison) data(ctx context.Context, config string, accounts int) (string, error) {
	template := k.imported[accounts]
	if template == "" {
		template = filepath.Join(k.dir, "accounts-"+strconv.Itoa(accounts))
		var list bytes.Buffer
		list.WriteString("number,password\n")
		for i := range accounts {
			number := strconv.Itoa(firstNumber + i)
			fmt.Fprintf(&list, "%s,%s\n", number, password(number))
		}
		file := template + ".csv"
		if err := os.WriteFile(file, list.Bytes(), 0o600); err != nil {
			return "", err
		}
		cmd := exec.CommandContext(ctx, k.binary, "--config", config, "--data", template, "account", "import", file)
		if out, err := cmd.CombinedOutput(); err != nil {
			return "", fmt.Errorf("liaison account import: %w\n%s", err, bytes.TrimSpace(out))
		}
		if k.imported == nil {
			k.imported = map[int]string{}
		}
		k.imported[accounts] = template
	}
	dir, err := os.MkdirTemp(k.dir, "data")
	if err != nil {
		return "", err
	}
	// cp keeps modes: the secret's must stay the owner's alone.
	if out, err := exec.CommandContext(ctx, "cp", "-a", template+"/.", dir).CombinedOutput(); err != nil {
		return "", fmt.Errorf("copy the accounts: %w\n%s", err, out)
	}
	return dir, nil
}

func (k *liaison) start(ctx context.Context, accounts int) (*server, error) {
	config, err := k.config()
	if err != nil {
		return nil, err
	}
	data, err := k.data(ctx, config, accounts)
	if err != nil {
		return nil, err
	}
	out, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	s, err := start(k.name(), k.dir, k.core, in, k.binary, "--config", config, "--data", data, "serve")
	in.Close()
	if err != nil {
		out.Close()
		return nil, err
	}
	if s.addr, err = awaitReady(ctx, s, out); err != nil {
		_ = s.stop()
		return nil, err
	}
	return s, nil
}

// awaitReady reads stdout up to the line "ready sip=udp:HOST:PORT,... web=...",
// and the rest of it to nowhere.
func awaitReady(ctx context.Context, s *server, out *os.File) (netip.AddrPort, error) {
	lines := make(chan string, 1)
	go func() {
		defer out.Close()
		r := bufio.NewReader(out)
		for {
			line, err := r.ReadString('\n')
			if err != nil {
				return
			}
			if strings.HasPrefix(line, "ready ") {
				lines <- line
				_, _ = io.Copy(io.Discard, r)
				return
			}
		}
	}()
	select {
	case line := <-lines:
		return readyAddress(line)
	case <-s.gone:
		return netip.AddrPort{}, s.died()
	case <-ctx.Done():
		return netip.AddrPort{}, ctx.Err()
	case <-time.After(60 * time.Second):
		return netip.AddrPort{}, fmt.Errorf("%s is not ready after 60 s; it said:\n%s", s.name, s.words())
	}
}

// readyAddress gives the first UDP address of a ready line.
func readyAddress(line string) (netip.AddrPort, error) {
	for field := range strings.FieldsSeq(line) {
		list, ok := strings.CutPrefix(field, "sip=")
		if !ok {
			continue
		}
		for item := range strings.SplitSeq(list, ",") {
			if addr, ok := strings.CutPrefix(item, "udp:"); ok {
				return netip.ParseAddrPort(addr)
			}
		}
	}
	return netip.AddrPort{}, fmt.Errorf("no UDP address in %q", strings.TrimSpace(line))
}
