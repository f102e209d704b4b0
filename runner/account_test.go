package runner

import (
	"errors"
	"fmt"
	"testing"

	"qsuper/config"
)

// A user who was known stays known while the directory does not answer, and is
// gone when it says so.
func TestDirectoryOutageRemovesNobody(t *testing.T) {
	var answer error
	asked := 0
	a := accounts{find: func(name string) (*config.Identity, error) {
		asked++
		if answer != nil {
			return nil, answer
		}
		return &config.Identity{Name: name, UID: 70001, GID: 70000, Groups: []int{70000}}, nil
	}}
	lookup := func(stamp int64) error {
		acc, err := a.lookup("ldap.user", userStamp{stamp})
		if err == nil && (acc.UID != 70001 || acc.cred.GID != 70000 || acc.env["USER"] != "ldap.user") {
			t.Errorf("%+v", acc)
		}
		return err
	}
	if err := errors.Join(lookup(1), lookup(1)); err != nil || asked != 1 {
		t.Errorf("asked %d times, %v", asked, err)
	}
	answer = fmt.Errorf("find user: %w", config.ErrDirectory)
	for stamp := int64(2); stamp < 5; stamp++ {
		if err := lookup(stamp); err != nil {
			t.Errorf("outage: %v", err)
		}
	}
	if _, err := a.lookup("somebody.else", userStamp{5}); !errors.Is(err, config.ErrDirectory) {
		t.Errorf("who was never known: %v", err)
	}
	answer = errors.New("user ldap.user does not exist")
	if err := lookup(6); err == nil {
		t.Error("a user who is gone may still be run as")
	}
}
