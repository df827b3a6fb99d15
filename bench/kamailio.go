package main

import (
	"context"
	_ "embed"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

//go:embed kamailio.cfg
var kamailioConfig []byte

// kamailio is Debian's Kamailio with kamailio.cfg.
type kamailio struct {
	dir  string
	core int
	// defines are switches of kamailio.cfg.
	defines []string
}

func (k *kamailio) name() string { return "kamailio" }

func (k *kamailio) version() string {
	out, err := exec.Command("kamailio", "-v").Output()
	if err != nil {
		return "unknown"
	}
	line, _, _ := strings.Cut(string(out), "\n")
	return strings.TrimPrefix(strings.TrimSpace(line), "version: ")
}

// start runs it with two workers, held in memory, and the allocator that does
// not check itself (-x fm: Debian's default, a debugging one, makes it 2.3
// times slower), and waits until it answers.
func (k *kamailio) start(ctx context.Context, accounts int) (*server, error) {
	dir, err := os.MkdirTemp(k.dir, "kamailio")
	if err != nil {
		return nil, err
	}
	config := filepath.Join(dir, "kamailio.cfg")
	if err := os.WriteFile(config, kamailioConfig, 0o600); err != nil {
		return nil, err
	}
	addr, err := freePort()
	if err != nil {
		return nil, err
	}
	args := []string{
		"-DD", "-E", "-f", config, "-Y", dir, "-x", "fm", "-m", "4096", "-M", "64",
		"-l", "udp:" + addr.String(),
		"-A", "ACCOUNTS=" + strconv.Itoa(accounts), "-A", "FIRST=" + strconv.Itoa(firstNumber),
	}
	for _, d := range k.defines {
		args = append(args, "-A", d)
	}
	s, err := start(k.name(), dir, k.core, nil, "kamailio", args...)
	if err != nil {
		return nil, err
	}
	s.addr = addr
	if err := awaitOptions(ctx, s); err != nil {
		_ = s.stop()
		return nil, err
	}
	return s, nil
}

// freePort gives a UDP port of loopback that nobody has.
func freePort() (netip.AddrPort, error) {
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return netip.AddrPort{}, err
	}
	defer c.Close()
	return c.LocalAddr().(*net.UDPAddr).AddrPort(), nil
}

// awaitOptions waits until the server answers one OPTIONS.
func awaitOptions(ctx context.Context, s *server) error {
	c, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(s.addr))
	if err != nil {
		return err
	}
	defer c.Close()
	host := c.LocalAddr().String()
	ping := "OPTIONS sip:" + s.addr.String() + " SIP/2.0\r\n" +
		"Via: SIP/2.0/UDP " + host + ";rport;branch=z9hG4bKready\r\nMax-Forwards: 70\r\n" +
		"From: <sip:bench@" + host + ">;tag=ready\r\nTo: <sip:" + s.addr.String() + ">\r\n" +
		"Call-ID: ready@" + host + "\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
	answer := make([]byte, datagram)
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); {
		_, _ = c.Write([]byte(ping)) // refused until the port is open
		if err := c.SetReadDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
			return err
		}
		n, err := c.Read(answer)
		if err == nil && strings.HasPrefix(string(answer[:n]), "SIP/2.0 200") {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.gone:
			return s.died()
		case <-time.After(20 * time.Millisecond):
		}
	}
	return fmt.Errorf("%s does not answer OPTIONS at %v", s.name, s.addr)
}
