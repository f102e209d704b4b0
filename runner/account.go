package runner

import (
	"errors"
	"sync"
	"syscall"
	"time"

	"qsuper/config"
	"qsuper/keeper"
)

// account is who a process runs as.
type account struct {
	*config.Identity
	cred *keeper.Cred // nil: the daemon's own
	env  map[string]string
}

// accounts remembers who is who while the user database stays as it is: a user
// that is removed meanwhile is found missing at the next start.
type accounts struct {
	mu    sync.Mutex
	stamp userStamp
	known map[string]account
	last  map[string]account // the latest answer for each name, whatever its age
	find  func(name string) (*config.Identity, error)
}

// userStamp changes when the user database does, and now and then: users of a
// directory (LDAP, …) change without a file of this host changing.
type userStamp [3]int64

const (
	// userTime is how long an answer serves at most.
	userTime = 10 * time.Minute
	// stampTime is how long the user database is taken to be as it was a moment ago: a
	// thousand starts in a row should not look at it a thousand times.
	stampTime = 10 * time.Millisecond
)

func stampOfUsers() userStamp {
	return userStamp{modified("/etc/passwd"), modified("/etc/group"), time.Now().UnixNano() / int64(userTime)}
}

func modified(path string) int64 {
	var st syscall.Stat_t
	if syscall.Stat(path, &st) != nil {
		return 0
	}
	return st.Mtim.Nano()
}

func (a *accounts) lookup(name string, stamp userStamp) (account, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.last == nil {
		a.last = map[string]account{}
	}
	if a.known == nil || stamp != a.stamp {
		a.known, a.stamp = map[string]account{}, stamp
	}
	if acc, ok := a.known[name]; ok {
		return acc, nil
	}
	who, err := a.find(name)
	if acc, was := a.last[name]; was && errors.Is(err, config.ErrDirectory) {
		return acc, nil // an outage of the directory removes nobody
	}
	if err != nil {
		delete(a.last, name)
		return account{}, err
	}
	acc := account{Identity: who, env: map[string]string{"HOME": who.Home, "USER": who.Name, "LOGNAME": who.Name, "SHELL": who.Shell}}
	if !who.Own {
		acc.cred = &keeper.Cred{UID: uint32(who.UID), GID: uint32(who.GID)}
		for _, g := range who.Groups {
			acc.cred.Groups = append(acc.cred.Groups, uint32(g))
		}
	}
	a.known[name], a.last[name] = acc, acc
	return acc, nil
}
