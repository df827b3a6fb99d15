//go:build e2e

package peer

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"liaison/e2e/audio"
	"liaison/e2e/lab"
)

// Soon is how long a test waits for what should come at once. Generous, because a machine that
// runs every test at the same time is slow, and a test that passes never waits for it.
const Soon = 15 * time.Second

// BaresipConfig is what differs from one baresip to the next.
type BaresipConfig struct {
	Number, Password string
	Server           string   // host or host:port, name or address
	Transport        string   // udp (if empty) or tcp
	Tone             int      // Hz of the sine that it sends; 0: 440
	Codecs           []string // as baresip writes them: PCMA/8000/1, opus/48000/2; in order of preference
	Answer           string   // manual (if empty) or auto
	MaxCalls         int      // more incoming calls than this are busy; 0: 4
	Ring             int      // seconds that it lets a call ring before it refuses it; 0: 120
}

// Baresip is a running baresip 1.0, driven through its control socket. It sends a sine and records
// what it decodes.
type Baresip struct {
	Process *lab.Process
	Host    *lab.Host

	config BaresipConfig
	dir    string
	conn   net.Conn

	mu      sync.Mutex
	events  []Event
	taken   int // events before this one were already waited for
	answers map[string]chan answer
	news    chan struct{}
	token   int
}

// Event is one line of baresip's life: REGISTER_OK, CALL_ESTABLISHED and so on.
type Event struct {
	Type      string `json:"type"`
	Param     string `json:"param"`
	AOR       string `json:"accountaor"`
	Direction string `json:"direction"`
	Peer      string `json:"peeruri"`
	CallID    string `json:"id"`
}

// line has the fields of an Event beside an answer's in one message.
type line Event

type answer struct {
	OK   bool   `json:"ok"`
	Data string `json:"data"`
}

const baresipConfig = `
poll_method		epoll
sip_listen		ADDRESS:0
call_local_timeout	RING
call_max_calls		MAXCALLS
audio_source		ausine,TONE
ausrc_srate		48000
ausrc_channels		2
ausrc_format		s16
auplay_format		s16
auenc_format		s16
audec_format		s16
audio_buffer		20-160
rtp_ports		20000-40000
rtcp_mux		no
jitter_buffer_delay	2-10
net_interface		ADDRESS
dns_server		203.0.113.254:53
module_path		/usr/lib/baresip/modules
module			opus.so
module			mpa.so
module			l16.so
module			g722.so
module			g711.so
module			sndfile.so
module			ausine.so
module			stun.so
module_tmp		uuid.so
module_tmp		account.so
module_app		menu.so
module_app		debug_cmd.so
module_app		ctrl_tcp.so
ctrl_tcp_listen		127.0.0.1:4444
snd_path		DIR
opus_stereo		yes
opus_sprop_stereo	yes
opus_bitrate		96000
mpa_layer		2
mpa_samplerate		48000
mpa_bitrate		128000
mpa_mode		stereo
redial_attempts		0
menu_bell		no
statmode_default	off
`

// StartBaresip starts one on a host of its own. It knows no account until Register.
func StartBaresip(t testing.TB, h *lab.Host, c BaresipConfig) *Baresip {
	t.Helper()
	lab.Need(t, "baresip")
	if c.Tone == 0 {
		c.Tone = 440
	}
	if c.Ring == 0 {
		c.Ring = 120
	}
	if c.MaxCalls == 0 {
		c.MaxCalls = 4
	}
	dir := lab.Dir(t)
	lab.Write(t, dir, "config", strings.NewReplacer(
		"ADDRESS", h.Addr.String(), "TONE", strconv.Itoa(c.Tone), "DIR", dir, "MAXCALLS", strconv.Itoa(c.MaxCalls),
		"RING", strconv.Itoa(c.Ring),
	).Replace(baresipConfig))
	// An empty file, or baresip writes a template. The account comes through the control socket,
	// because an event that happens before we listen there is lost.
	lab.Write(t, dir, "accounts", "\n")
	b := &Baresip{Host: h, config: c, dir: dir, answers: map[string]chan answer{}, news: make(chan struct{})}
	b.Process = lab.Start(t, "baresip "+c.Number, h.Command("baresip", "-4", "-s", "-f", dir))
	lab.Eventually(t, Soon, "baresip opens its control socket", func() bool {
		conn, err := h.Dial(context.Background(), "tcp4", "127.0.0.1:4444")
		b.conn = conn
		return err == nil
	})
	done := make(chan struct{})
	go func() {
		defer close(done)
		b.read()
	}()
	t.Cleanup(func() {
		b.conn.Close()
		<-done
		if t.Failed() {
			b.mu.Lock()
			defer b.mu.Unlock()
			t.Logf("events of baresip %s: %+v", c.Number, b.events)
		}
	})
	return b
}

// read takes netstrings ("12:{...},") off the control socket until it closes.
func (b *Baresip) read() {
	r := bufio.NewReader(b.conn)
	for {
		size, err := r.ReadString(':')
		if err != nil {
			return
		}
		n, err := strconv.Atoi(strings.TrimSuffix(size, ":"))
		if err != nil {
			return
		}
		body := make([]byte, n+1)
		if _, err := io.ReadFull(r, body); err != nil {
			return
		}
		var message struct {
			Event bool   `json:"event"`
			Token string `json:"token"`
			line
			answer
		}
		if json.Unmarshal(body[:n], &message) != nil {
			continue
		}
		b.mu.Lock()
		if message.Event {
			b.events = append(b.events, Event(message.line))
			close(b.news)
			b.news = make(chan struct{})
		} else if c, ok := b.answers[message.Token]; ok {
			delete(b.answers, message.Token)
			c <- message.answer
		}
		b.mu.Unlock()
	}
}

// Do runs a command of baresip's menu and gives what it printed.
func (b *Baresip) Do(t testing.TB, command, params string) string {
	t.Helper()
	b.mu.Lock()
	b.token++
	token := strconv.Itoa(b.token)
	c := make(chan answer, 1)
	b.answers[token] = c
	b.mu.Unlock()
	request := map[string]string{"command": command, "token": token}
	if params != "" {
		request["params"] = params
	}
	body, err := json.Marshal(request)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Fprintf(b.conn, "%d:%s,", len(body), body); err != nil {
		t.Fatalf("baresip %s: %s: %v", b.config.Number, command, err)
	}
	select {
	case a := <-c:
		if !a.OK {
			t.Fatalf("baresip %s: %s %s: %s", b.config.Number, command, params, a.Data)
		}
		return a.Data
	case <-time.After(Soon):
		t.Fatalf("baresip %s: no answer to %s", b.config.Number, command)
		return ""
	}
}

// Wait gives the next event of one of the types; what came before it counts as seen.
func (b *Baresip) Wait(t testing.TB, types ...string) Event {
	t.Helper()
	e, ok := b.Within(Soon, types...)
	if !ok {
		t.Fatalf("baresip %s: no %s within %v", b.config.Number, strings.Join(types, " or "), Soon)
	}
	return e
}

// Seen says whether such an event has come since the last Wait, without waiting.
func (b *Baresip) Seen(types ...string) bool {
	_, ok := b.next(types, false)
	return ok
}

// Within is Wait with its own limit, and may find nothing.
func (b *Baresip) Within(d time.Duration, types ...string) (Event, bool) {
	deadline := time.After(d)
	for {
		b.mu.Lock()
		news := b.news
		b.mu.Unlock()
		if e, ok := b.next(types, true); ok {
			return e, true
		}
		select {
		case <-news:
		case <-deadline:
			return Event{}, false
		}
	}
}

func (b *Baresip) next(types []string, take bool) (Event, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := b.taken; i < len(b.events); i++ {
		for _, typ := range types {
			if b.events[i].Type == typ {
				if take {
					b.taken = i + 1
				}
				return b.events[i], true
			}
		}
	}
	return Event{}, false
}

// Account makes the account; register says whether baresip registers it.
func (b *Baresip) account(t testing.TB, register bool) {
	t.Helper()
	c := b.config
	var s strings.Builder
	fmt.Fprintf(&s, "<sip:%s@%s", c.Number, c.Server)
	if c.Transport != "" {
		fmt.Fprintf(&s, ";transport=%s", c.Transport)
	}
	fmt.Fprintf(&s, ">;auth_user=%s;auth_pass=%s;answermode=%s", c.Number, c.Password, orElse(c.Answer, "manual"))
	if len(c.Codecs) > 0 {
		fmt.Fprintf(&s, ";audio_codecs=%s", strings.Join(c.Codecs, ","))
	}
	if register {
		s.WriteString(";regint=300")
	} else {
		s.WriteString(";regint=0")
	}
	b.Do(t, "uanew", s.String())
}

// Register registers and waits for the answer.
func (b *Baresip) Register(t testing.TB) {
	t.Helper()
	b.account(t, true)
	if e := b.Wait(t, "REGISTER_OK", "REGISTER_FAIL"); e.Type != "REGISTER_OK" {
		t.Fatalf("baresip %s cannot register: %s", b.config.Number, e.Param)
	}
}

// RegisterFails registers and gives the reason why that was refused.
func (b *Baresip) RegisterFails(t testing.TB) string {
	t.Helper()
	result := b.RegisterResult(t)
	if strings.HasPrefix(result, "2") {
		t.Fatalf("baresip %s registered, and should have been refused", b.config.Number)
	}
	return result
}

// RegisterResult registers and gives the status and reason of the answer.
func (b *Baresip) RegisterResult(t testing.TB) string {
	t.Helper()
	b.account(t, true)
	return b.Wait(t, "REGISTER_OK", "REGISTER_FAIL").Param
}

// Unregistered makes the account without registering it: it can call and not be called.
func (b *Baresip) Unregistered(t testing.TB) {
	t.Helper()
	b.account(t, false)
}

// Dial calls a number or an address and does not wait.
func (b *Baresip) Dial(t testing.TB, uri string) { t.Helper(); b.Forget(t); b.Do(t, "dial", uri) }

// Accept answers the call that rings.
func (b *Baresip) Accept(t testing.TB) { t.Helper(); b.Forget(t); b.Do(t, "accept", "") }

// Forget removes what was recorded so far, so that nobody takes the last call for this one.
func (b *Baresip) Forget(t testing.TB) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(b.dir, "dump-*.wav"))
	for _, file := range files {
		err = errors.Join(err, os.Remove(file))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// Hangup ends the call, or refuses the one that rings with 486.
func (b *Baresip) Hangup(t testing.TB) { t.Helper(); b.Do(t, "hangup", "") }

// Recording is the file with what it has decoded in its newest call; whole when the call is over.
func (b *Baresip) Recording(t testing.TB) string {
	t.Helper()
	path, err := b.recording()
	if err != nil {
		t.Fatalf("baresip %s: %v", b.config.Number, err)
	}
	return path
}

func (b *Baresip) recording() (string, error) {
	files, err := filepath.Glob(filepath.Join(b.dir, "dump-*-dec.wav"))
	if err != nil || len(files) == 0 {
		return "", fmt.Errorf("no recording (%v)", err)
	}
	// The names are times to the second: the last in order is the newest.
	return files[len(files)-1], nil
}

// Hears waits until it has recorded that many seconds of its newest call, and gives all of that.
func (b *Baresip) Hears(t testing.TB, seconds float64) *audio.Recording {
	t.Helper()
	var r *audio.Recording
	lab.Eventually(t, Soon+time.Duration(seconds)*time.Second, fmt.Sprintf("baresip %s records %g s", b.config.Number, seconds), func() bool {
		path, err := b.recording()
		if err != nil {
			return false
		}
		r, err = audio.ReadWAV(path)
		return err == nil && r.Seconds() >= seconds
	})
	return r
}

func orElse(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}
