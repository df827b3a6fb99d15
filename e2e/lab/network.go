//go:build e2e

package lab

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Network is a little internet: one wire (a bridge in a namespace of its own) with the prefix
// 203.0.113.0/24, hosts on it, and homes behind address translation.
//
//	server 203.0.113.1 --+-- wire (.254, names) --+-- studio 203.0.113.11
//	                     |                        |
//	                     +-- home (.21, NAT) -- reporter 192.168.1.10
type Network struct {
	Names *Names

	id    string
	wire  string // namespace of the bridge
	ports int    // cables plugged into it
	homes int
}

// The router of the wire, which also resolves names.
const router = "203.0.113.254"

var (
	networks atomic.Int32
	sweep    sync.Once
)

// NewNetwork needs root, because only root can make namespaces.
func NewNetwork(t testing.TB) *Network {
	t.Helper()
	Need(t, "ip", "nft")
	if os.Geteuid() != 0 {
		Lacking(t, "network namespaces need root")
	}
	sweep.Do(removeLeftovers)
	// The process id in the name keeps two runs apart and lets a later run remove what a killed one left.
	n := &Network{id: fmt.Sprintf("e2e-%d-%d", os.Getpid(), networks.Add(1))}
	n.wire = n.namespace(t, "wire")
	// A bridge without an address of its own takes another with every cable, and the hosts would
	// write to the old one until their ARP entries are stale.
	run(t, "link add wire address 02:00:00:00:00:fe type bridge\n"+
		"link set wire type bridge stp_state 0 forward_delay 0\n"+
		"addr add "+router+"/24 dev wire\n"+
		"link set wire up\nlink set lo up\n", "ip", "-n", n.wire, "-batch", "-")
	n.Names = serveNames(t, n.wire, router)
	return n
}

// Host is one machine of the network.
type Host struct {
	Name string
	Addr netip.Addr

	ns    string
	cable func(t testing.TB, state string)
}

// Host plugs a machine with its own address into the wire.
func (n *Network) Host(t testing.TB, name, addr string) *Host {
	t.Helper()
	return n.host(t, name, addr, router, n.wire, "wire")
}

// host makes a namespace, a cable from it to a bridge elsewhere, an address and the way out.
func (n *Network) host(t testing.TB, name, addr, gateway, bridgeNS, bridge string) *Host {
	t.Helper()
	ns := n.namespace(t, name)
	n.ports++
	port := "p" + strconv.Itoa(n.ports)
	run(t, fmt.Sprintf("link add eth0 netns %s type veth peer name %s netns %s\n", ns, port, bridgeNS), "ip", "-batch", "-")
	run(t, fmt.Sprintf("link set %s master %s\nlink set %s up\n", port, bridge, port), "ip", "-n", bridgeNS, "-batch", "-")
	run(t, fmt.Sprintf("link set lo up\naddr add %s/24 dev eth0\nlink set eth0 up\nroute add default via %s\n", addr, gateway),
		"ip", "-n", ns, "-batch", "-")
	return &Host{Name: name, Addr: netip.MustParseAddr(addr), ns: ns, cable: func(t testing.TB, state string) {
		t.Helper()
		run(t, "", "ip", "-n", bridgeNS, "link", "set", port, state)
	}}
}

// namespace makes a named one. Names resolve inside it through the wire's own server.
func (n *Network) namespace(t testing.TB, name string) string {
	t.Helper()
	ns := n.id + "-" + name
	etc := filepath.Join("/etc/netns", ns)
	if err := os.MkdirAll(etc, 0o755); err != nil {
		t.Fatal(err)
	}
	Write(t, etc, "resolv.conf", "nameserver "+router+"\n")
	run(t, "", "ip", "netns", "add", ns)
	t.Cleanup(func() {
		removeNamespace(ns)
	})
	return ns
}

// Command is a program with its arguments that will run on this host.
func (h *Host) Command(program string, args ...string) *exec.Cmd {
	// ip execs the program, so the process that we hold is the program itself.
	return exec.Command("ip", append([]string{"netns", "exec", h.ns, program}, args...)...)
}

// Cut unplugs the host's cable: nothing comes and nothing goes, and nobody is told.
func (h *Host) Cut(t testing.TB) { t.Helper(); h.cable(t, "down") }

// Mend plugs it in again.
func (h *Host) Mend(t testing.TB) { t.Helper(); h.cable(t, "up") }

// Do runs fn with this host's network: sockets that fn opens belong to the host for good.
func (h *Host) Do(fn func() error) error { return inNamespace(h.ns, fn) }

// Dial connects from this host.
func (h *Host) Dial(ctx context.Context, network, addr string) (conn net.Conn, err error) {
	err = h.Do(func() error {
		conn, err = (&net.Dialer{}).DialContext(ctx, network, addr)
		return err
	})
	return conn, err
}

// FreePort is a UDP and TCP port that nobody on this host has at the moment.
func (h *Host) FreePort(t testing.TB) int {
	t.Helper()
	var port int
	err := h.Do(func() error {
		l, err := net.Listen("tcp", netip.AddrPortFrom(h.Addr, 0).String())
		if err != nil {
			return err
		}
		port = l.Addr().(*net.TCPAddr).Port
		return l.Close()
	})
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// inNamespace moves the thread, not the process. A thread that could not be moved back is left
// locked, so that Go ends it with its goroutine instead of using it for others.
func inNamespace(ns string, fn func() error) error {
	failed := make(chan error)
	go func() {
		failed <- func() error {
			runtime.LockOSThread()
			home, err := os.Open("/proc/thread-self/ns/net")
			if err != nil {
				return err
			}
			defer home.Close()
			there, err := os.Open(filepath.Join("/var/run/netns", ns))
			if err != nil {
				return err
			}
			defer there.Close()
			if err := unix.Setns(int(there.Fd()), unix.CLONE_NEWNET); err != nil {
				return fmt.Errorf("enter namespace %s: %w", ns, err)
			}
			err = fn()
			if unix.Setns(int(home.Fd()), unix.CLONE_NEWNET) == nil {
				runtime.UnlockOSThread()
			}
			return err
		}()
	}()
	return <-failed
}

// removeLeftovers deletes the namespaces of test runs that were killed.
func removeLeftovers() {
	entries, _ := os.ReadDir("/var/run/netns")
	for _, e := range entries {
		parts := strings.SplitN(e.Name(), "-", 3)
		if len(parts) < 3 || parts[0] != "e2e" {
			continue
		}
		if pid, err := strconv.Atoi(parts[1]); err != nil || unix.Kill(pid, 0) != unix.ESRCH {
			continue
		}
		removeNamespace(e.Name())
	}
}

func removeNamespace(ns string) {
	// A namespace whose last process is just being buried is busy for a moment.
	for range 50 {
		if exec.Command("ip", "netns", "del", ns).Run() == nil {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	_ = os.RemoveAll(filepath.Join("/etc/netns", ns))
}
