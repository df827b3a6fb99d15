//go:build e2e

package peer

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"liaison/e2e/audio"
	"liaison/e2e/lab"
)

// LinphoneConfig is what differs from one linphone to the next.
type LinphoneConfig struct {
	Number, Password string
	Realm            string
	Server           string // host or host:port
	Transport        string // udp (if empty) or tcp
	Tone             float64
	Codec            string // MIME/rate/channels, the only one that it offers
	AutoAnswer       bool
}

// Linphone is linphonec 5.1 at its own console, with files for microphone and loudspeaker.
type Linphone struct {
	Process *lab.Process

	config LinphoneConfig
	dir    string
	stdin  io.WriteCloser
	seen   int // bytes of its output that were already waited for
}

// StartLinphone starts one on a host of its own.
func StartLinphone(t testing.TB, h *lab.Host, c LinphoneConfig) *Linphone {
	t.Helper()
	lab.Need(t, "linphonec")
	dir := lab.Dir(t)
	c.Codec = orElse(c.Codec, "PCMA/8000/1")
	var codecs strings.Builder
	for i, name := range []string{"PCMA/8000/1", "PCMU/8000/1", "G722/8000/1", "opus/48000/2", "L16/44100/2", "L16/44100/1", "speex/8000/1", "speex/16000/1", "speex/32000/1", "GSM/8000/1", "BV16/8000/1"} {
		part := strings.Split(name, "/")
		enabled := 0
		if name == c.Codec {
			enabled = 1
		}
		fmt.Fprintf(&codecs, "[audio_codec_%d]\nmime=%s\nrate=%s\nchannels=%s\nenabled=%d\n\n", i, part[0], part[1], part[2], enabled)
	}
	udp, tcp := 0, -1
	if c.Transport != "tcp" {
		udp, tcp = -1, 0
	}
	config := lab.Write(t, dir, "linphonerc", fmt.Sprintf(`[sip]
sip_port=%[1]d
sip_tcp_port=%[2]d
sip_tls_port=0
use_ipv6=0
default_proxy=0
register_only_when_network_is_up=0
guess_hostname=1
keepalive_period=30000

[rtp]
audio_rtp_port=7078
download_ptime=20

[sound]
echocancellation=0

[net]
mtu=1300
firewall_policy=0

[proxy_0]
reg_identity=sip:%[3]s@%[4]s
reg_proxy=<sip:%[4]s;transport=%[5]s>
reg_expires=300
reg_sendregister=1
publish=0

[auth_info_0]
username=%[3]s
passwd=%[6]s
realm=%[7]s

%[8]s`, udp, tcp, c.Number, c.Server, orElse(c.Transport, "udp"), c.Password, c.Realm, codecs.String()))
	if err := audio.WriteTone(filepath.Join(dir, "send.wav"), 48000, 60, 0.5, c.Tone); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(dir, ".local/share/linphone"), 0o700); err != nil {
		t.Fatal(err)
	}
	cmd := h.Command("linphonec", "-S", "-d", "6", "-c", config)
	// It keeps a database and a history in the home; two of them must not share those.
	cmd.Env = []string{"HOME=" + dir, "XDG_DATA_HOME=" + dir, "XDG_CONFIG_HOME=" + dir, "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8", "TERM=dumb", "COLUMNS=500"}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	l := &Linphone{config: c, dir: dir, stdin: stdin}
	l.Process = lab.Start(t, "linphone "+c.Number, cmd)
	l.Process.Line(t, Soon, `^linphonec> |Warning: video is disabled`)
	l.Do(t, "soundcard use files")
	l.Do(t, "play "+filepath.Join(dir, "send.wav"))
	l.Do(t, "record "+filepath.Join(dir, "heard.wav"))
	if c.AutoAnswer {
		l.Do(t, "autoanswer enable")
	}
	return l
}

// Do types a command at the console.
func (l *Linphone) Do(t testing.TB, command string) {
	t.Helper()
	if _, err := io.WriteString(l.stdin, command+"\n"); err != nil {
		t.Fatalf("linphone %s: %s: %v", l.config.Number, command, err)
	}
}

// Wait waits for one of the texts in what it prints after what was already waited for.
func (l *Linphone) Wait(t testing.TB, texts ...string) string {
	t.Helper()
	var found string
	lab.Eventually(t, Soon, fmt.Sprintf("linphone %s prints %q", l.config.Number, texts), func() bool {
		out := l.Process.Out.String()
		for _, text := range texts {
			if at := strings.Index(out[l.seen:], text); at >= 0 {
				l.seen += at + len(text)
				found = text
				return true
			}
		}
		return false
	})
	return found
}

// Registered waits for the answer to the registration that it begins by itself.
func (l *Linphone) Registered(t testing.TB) {
	t.Helper()
	if l.Wait(t, "to [LinphoneRegistrationOk]", "to [LinphoneRegistrationFailed]") == "to [LinphoneRegistrationFailed]" {
		t.Fatalf("linphone %s cannot register", l.config.Number)
	}
}

// Heard is what it recorded of the call that has just ended, at least that many seconds. It writes
// the file's head last, so there is nothing to read during a call.
func (l *Linphone) Heard(t testing.TB, seconds float64) *audio.Recording {
	t.Helper()
	var r *audio.Recording
	lab.Eventually(t, Soon, fmt.Sprintf("linphone %s has recorded %g s", l.config.Number, seconds), func() bool {
		var err error
		r, err = audio.ReadWAV(filepath.Join(l.dir, "heard.wav"))
		return err == nil && r.Seconds() >= seconds
	})
	return r
}
