package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// directoryOf puts a directory of shell scripts in the place of the host's. Each
// call of a tool leaves a line in the file it returns.
func directoryOf(t *testing.T, getent, id string) (d *directory, calls string) {
	t.Helper()
	dir := t.TempDir()
	calls = filepath.Join(dir, "calls")
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		text = fmt.Sprintf("#!/bin/sh\necho %s \"$@\" >> %s\n%s\n", name, calls, text)
		if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
		return path
	}
	d = &directory{getent: write("getent", getent), id: write("id", id)}
	old := hostDirectory
	hostDirectory = d
	t.Cleanup(func() { hostDirectory = old })
	return d, calls
}

const sssd = `case "$1 $2" in
"passwd ldap.user"|"passwd 70001") echo 'ldap.user:*:70001:70000:Some One,,,:/home/ldap.user:/bin/zsh' ;;
"group ldap.staff") echo 'ldap.staff:*:70100:ldap.user' ;;
*) exit 2 ;;
esac`

func TestUsersOfTheDirectory(t *testing.T) {
	_, calls := directoryOf(t, sssd, `[ "$3" = ldap.user ] && echo 70000 70100 27`)
	want := Identity{Name: "ldap.user", UID: 70001, GID: 70000, Groups: []int{70000, 70100, 27}, Home: "/home/ldap.user", Shell: "/bin/zsh"}
	for _, text := range []string{"ldap.user", "70001"} {
		got, err := identityOf(text)
		if err != nil || !reflect.DeepEqual(*got, want) {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
	if gid, err := GroupID("ldap.staff"); gid != 70100 || err != nil {
		t.Errorf("%d, %v", gid, err)
	}
	if _, err := LookupIdentity("nobody-knows"); err == nil || err.Error() != "user nobody-knows does not exist" {
		t.Errorf("%v", err)
	}
	if _, err := GroupID("nobody-knows"); err == nil || err.Error() != "group nobody-knows does not exist" {
		t.Errorf("%v", err)
	}
	os.Remove(calls)
	if _, err := LookupIdentity("root"); err != nil {
		t.Error(err)
	}
	if raw, err := os.ReadFile(calls); err == nil {
		t.Errorf("asked for a local user: %s", raw)
	}
}

func TestDirectoryThatHangs(t *testing.T) {
	_, calls := directoryOf(t, "sleep 1000 & wait", "exit 0")
	began := time.Now()
	for range 3 {
		if _, err := LookupIdentity("ldap.user"); !errors.Is(err, ErrDirectory) {
			t.Fatalf("%v", err)
		}
	}
	if took := time.Since(began); took > 3*directoryTime {
		t.Errorf("took %s", took)
	}
	if raw, err := os.ReadFile(calls); err != nil || strings.Count(string(raw), "\n") != 1 {
		t.Errorf("asked again at once: %s %v", raw, err)
	}
}

func TestDirectoryThatFails(t *testing.T) {
	directoryOf(t, sssd, "exit 1")
	if _, err := LookupIdentity("ldap.user"); !errors.Is(err, ErrDirectory) {
		t.Errorf("without its groups: %v", err)
	}
	directoryOf(t, "exit 3", "exit 0")
	if _, err := LookupIdentity("ldap.user"); !errors.Is(err, ErrDirectory) {
		t.Errorf("getent fails: %v", err)
	}
	directoryOf(t, "echo nonsense", "exit 0")
	if _, err := LookupIdentity("ldap.user"); !errors.Is(err, ErrDirectory) {
		t.Errorf("nonsense: %v", err)
	}
}

// The tools of this host are understood: what they say of a local user is what
// the files say.
func TestDirectoryOfThisHost(t *testing.T) {
	if hostDirectory.getent == "" || hostDirectory.id == "" {
		t.Fatal("getent and id are missing: install libc-bin and coreutils")
	}
	want, err := identityOf("daemon")
	if err != nil {
		t.Fatal(err)
	}
	u, shell, err := hostDirectory.user("daemon")
	if err != nil || u.Uid != fmt.Sprint(want.UID) || u.Gid != fmt.Sprint(want.GID) || u.HomeDir != want.Home || shell != want.Shell {
		t.Errorf("%+v %s, %v", u, shell, err)
	}
	groups, err := hostDirectory.groups("daemon")
	if err != nil || strings.Join(groups, " ") != strings.Trim(fmt.Sprint(want.Groups), "[]") {
		t.Errorf("%v, %v; want %v", groups, err, want.Groups)
	}
	if gid, err := hostDirectory.group("daemon"); err != nil || gid != fmt.Sprint(want.GID) {
		t.Errorf("%s, %v", gid, err)
	}
	if _, _, err := hostDirectory.user("no-such-user-here"); err == nil || errors.Is(err, ErrDirectory) {
		t.Errorf("%v", err)
	}
}
