//go:build e2e

// Package peer drives foreign programs: one file for each.
package peer

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"liaison/e2e/lab"
)

// Kamailio is a plain registrar and proxy in memory. A test that passes through it and not through
// our server has found something; one that fails with both has found a fault of its own.
type Kamailio struct {
	process *lab.Process
}

// StartKamailio serves SIP on UDP and TCP, ports 5060 and 5070, for these numbers and passwords.
func StartKamailio(t testing.TB, h *lab.Host, realm string, names []string, passwords map[string]string) *Kamailio {
	t.Helper()
	lab.Need(t, "kamailio")
	dir := lab.Dir(t)
	var aliases, listens, entries strings.Builder
	for _, n := range names {
		fmt.Fprintf(&aliases, "alias=\"%s\"\n", n)
	}
	for _, proto := range []string{"udp", "tcp"} {
		for _, port := range []int{5060, 5070} {
			fmt.Fprintf(&listens, "listen=%s:%s:%d\n", proto, h.Addr, port)
		}
	}
	for number, password := range passwords {
		fmt.Fprintf(&entries, "\t$sht(pw=>%s) = \"%s\";\n", number, password)
	}
	config := lab.Write(t, dir, "kamailio.cfg", strings.NewReplacer(
		"ALIASES", aliases.String(), "LISTENS", listens.String(), "ENTRIES", entries.String(), "REALM", realm,
	).Replace(kamailioConfig))
	p := lab.Start(t, "kamailio", h.Command("kamailio", "-DD", "-E", "-x", "fm", "-m", "64", "-M", "16",
		"-f", config, "-Y", dir, "-P", dir+"/pid"))
	// The port of the control module opens before the workers listen; a SIP ping is the true sign.
	lab.Eventually(t, 10*time.Second, "kamailio answers OPTIONS", func() bool { return Ping(h, h.Addr.String()+":5060") })
	return &Kamailio{process: p}
}

const kamailioConfig = `
debug=1
log_stderror=yes
children=2
tcp_children=2
auto_aliases=no
dns_cache_init=off
ALIASES
LISTENS
loadmodule "sl.so"
loadmodule "tm.so"
loadmodule "rr.so"
loadmodule "pv.so"
loadmodule "maxfwd.so"
loadmodule "textops.so"
loadmodule "siputils.so"
loadmodule "usrloc.so"
loadmodule "registrar.so"
loadmodule "auth.so"
loadmodule "htable.so"
modparam("htable", "htable", "pw=>size=8;")
modparam("usrloc", "db_mode", 0)
modparam("registrar", "received_avp", "$avp(received)")
modparam("registrar", "default_expires", 300)
modparam("registrar", "min_expires", 60)
modparam("registrar", "max_contacts", 1)
modparam("registrar", "gruu_enabled", 0)
modparam("rr", "enable_double_rr", 1)

event_route[htable:mod-init] {
ENTRIES
}

request_route {
	if (!mf_process_maxfwd_header("10")) { sl_send_reply("483", "Too Many Hops"); exit; }
	force_rport();
	if (is_method("OPTIONS") && uri == myself && $rU == $null) { sl_send_reply("200", "OK"); exit; }
	if (is_method("REGISTER")) {
		if (!pv_auth_check("REALM", "$sht(pw=>$tU)", "0", "1")) { auth_challenge("REALM", "1"); exit; }
		$avp(received) = "sip:" + $si + ":" + $sp + ";transport=" + $pr;
		save("location");
		exit;
	}
	if (is_method("CANCEL")) { if (t_check_trans()) t_relay(); exit; }
	if (has_totag()) {
		if (loose_route() || is_method("ACK")) { t_relay(); exit; }
		sl_send_reply("404", "Not here");
		exit;
	}
	t_check_trans();
	if (!pv_proxy_authenticate("REALM", "$sht(pw=>$fU)", "0")) { proxy_challenge("REALM", "1"); exit; }
	consume_credentials();
	if (is_method("INVITE")) record_route();
	if ($rU =~ "^[0-9]{4}$") { $rU = $(fU{s.substr,0,4}) + $rU; }
	if ($sht(pw=>$rU) == $null) { sl_send_reply("404", "Not Found"); exit; }
	if (!lookup("location")) { sl_send_reply("480", "Temporarily Unavailable"); exit; }
	t_relay();
}
`
