package call

import "time"

// jury remembers how the probes of the last quarter of an hour went, minute by minute.
type jury [15]struct {
	at               int64
	answered, missed int
}

func (cs *Calls) heard(now time.Time, answered bool) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	at := now.Unix() / 60
	m := &cs.jury[at%int64(len(cs.jury))]
	if m.at != at {
		m.at, m.answered, m.missed = at, 0, 0
	}
	if answered {
		m.answered++
	} else {
		m.missed++
	}
}

// othersAnswer tells that nine tenths of the other probes of the last quarter of an hour were answered. own are the
// missed ones of the leg in question. Without other probes there is no telling whose outage it is, and the call stands.
func (cs *Calls) othersAnswer(now time.Time, own []time.Time) bool {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	oldest := now.Unix()/60 - int64(len(cs.jury)) + 1
	answered, missed := 0, 0
	for _, m := range cs.jury {
		if m.at >= oldest {
			answered, missed = answered+m.answered, missed+m.missed
		}
	}
	for _, t := range own {
		if t.Unix()/60 >= oldest {
			missed--
		}
	}
	return answered > 0 && answered*10 >= (answered+missed)*9
}
