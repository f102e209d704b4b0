package runner

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"time"

	"qsuper/lease"
)

// absent is a host that was there and is not any more.
type absent struct {
	Heard   time.Time `json:"heard_at,omitzero"` // its last sign; zero: before this daemon looked for the first time
	Stopped bool      `json:"stopped"`           // it has given back its place, as a daemon does that is told to stop
	Said    host      `json:"said"`              // of itself, last
}

// roster remembers hosts beyond the time for which a store does. It is kept in the
// state directory, for the next engine of this host.
type roster struct {
	Present map[string]host   `json:"present"` // by owner, at the last change
	Absent  map[string]absent `json:"absent"`
}

// absentKept is how long a host is remembered that is not there.
const absentKept = 24 * time.Hour

func rosterPath(stateDir, lock string) string {
	return filepath.Join(stateDir, "fleet."+lock+".json")
}

// loadRoster reads what the engine before knew. A file that cannot be read is one
// that is not there: it only says who is missed.
func loadRoster(path string) roster {
	var r roster
	b, err := os.ReadFile(path)
	if err != nil || json.Unmarshal(b, &r) != nil {
		return roster{}
	}
	return r
}

// save is for the next engine. Without it that one misses nobody.
func (r roster) save(path string) error {
	b, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("write which hosts share a lock store: %w", err)
	}
	temp := path + ".new"
	if err := os.WriteFile(temp, b, 0o600); err != nil {
		return fmt.Errorf("write which hosts share a lock store: %w", err)
	}
	if err := os.Rename(temp, path); err != nil {
		return fmt.Errorf("write which hosts share a lock store: %w", err)
	}
	return nil
}

// notice compares two censuses: who has gone, and who is back. before is nil at the
// first look. It returns nil when nobody has come or gone.
func (r roster) notice(before, after *census, me string, ttl time.Duration, now time.Time, boot time.Duration) *roster {
	next := roster{Present: map[string]host{}, Absent: map[string]absent{}}
	maps.Copy(next.Absent, r.Absent)
	changed := false
	for owner, m := range after.hosts {
		if owner == me {
			continue
		}
		next.Present[owner] = m.host
		if _, known := r.Present[owner]; known {
			continue
		}
		changed = true
		// A machine that has booted has another id and the same name.
		maps.DeleteFunc(next.Absent, func(gone string, _ absent) bool { return lease.Host(gone) == lease.Host(owner) })
	}
	for owner, said := range r.Present {
		if _, there := after.hosts[owner]; there {
			continue
		}
		changed = true
		next.Absent[owner] = leftAs(said, before, after, owner, ttl, now, boot)
	}
	maps.DeleteFunc(next.Absent, func(_ string, a absent) bool { return !a.Heard.IsZero() && now.Sub(a.Heard) > absentKept })
	if !changed {
		return nil
	}
	return &next
}

// leftAs says how a host has gone.
func leftAs(said host, before, after *census, owner string, ttl time.Duration, now time.Time, boot time.Duration) absent {
	if before == nil {
		return absent{Said: said}
	}
	m, known := before.hosts[owner]
	if !known {
		return absent{Said: said}
	}
	a := absent{Said: m.host, Heard: now.Add(m.expires - ttl - boot)}
	left, told := after.left[owner]
	a.Stopped = told && !left.Before(m.since)
	return a
}

// miss brings the roster up to date with a look; before is nil at the first.
func (f *lockStore) miss(before, after *census) {
	f.mu.Lock()
	next := f.roster.notice(before, after, f.loop.Owner(), f.conf.Timing.TTL, time.Now(), f.r.boot())
	if next != nil {
		f.roster = *next
	}
	f.mu.Unlock()
	if next == nil {
		return
	}
	if err := next.save(f.rosterPath); err != nil {
		f.r.log.Warn("hosts that are missing will be forgotten with this engine", "lock", f.name, "error", err)
	}
}

// missing are the hosts that were there and are not, by owner.
func (f *lockStore) missing() map[string]absent {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.roster.Absent
}
