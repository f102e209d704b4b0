package keeper

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"qsuper/keeper/storetest"
)

// newServiceRig is a keeper under a service manager that holds up to max pipes.
func newServiceRig(t *testing.T, max int) *rig {
	r := newRigStill(t)
	r.manager = storetest.New(t, filepath.Join(r.dir, "notify.sock"), max)
	r.startKeeper()
	return r
}

// stores waits until the store has so many pipes.
func (r *rig) stores(n int) {
	r.t.Helper()
	eventually(r.t, fmt.Sprint("the store holds ", n), func() bool { return len(r.manager.Held()) == n })
}

// lastWords starts a process that prints a part of a line, then more when a file is
// there, and ends; and kills the keeper, and with it all who read, in between.
func (r *rig) lastWords(l *link, slot string) {
	r.t.Helper()
	now := filepath.Join(r.dir, "now")
	st := l.start(slot, 5, r.spec(slot, "echo one; until test -e "+now+"; do sleep 0.01; done; echo two; printf three"))
	nobodys(r.t.(*testing.T), st.PID)
	r.says(slot, "one")
	r.die(l)
	touch(r.t.(*testing.T), now)
	eventually(r.t, "it has ended", func() bool { return !alive(st.PID) })
}

func (r *rig) logged(slot, want string) {
	r.t.Helper()
	r.says(slot, want)
	if b, err := os.ReadFile(r.logPath(slot)); string(b) != want {
		r.t.Errorf("%s: %q, %v; expected %q", slot, b, err, want)
	}
}

// A process ends when nobody is there but the service manager: what it has printed
// is in its log, before what the next one prints.
func TestTheStoreKeepsLastWords(t *testing.T) {
	t.Parallel()
	r := newServiceRig(t, 10)
	l, _ := r.connect()
	r.lastWords(l, slot0)
	r.stores(1)
	r.startKeeper()
	l, slots := r.connect()
	if s := slots[slot0]; !s.Adopted || s.PID != 0 {
		t.Errorf("%+v", s)
	}
	next := r.spec(slot0, "echo four; exec sleep 1000")
	l.ask(l.Adopt(AdoptRequest{Slot: slot0, Spec: next}))
	l.start(slot0, 6, next)
	r.logged(slot0, "one\ntwo\nthree\nfour\n")
	r.stores(1)
	if n := r.manager.Received(); n != 1 {
		t.Errorf("%d messages for one pipe", n)
	}
	l.ask(l.Stop(StopRequest{Slot: slot0, Run: 6, Now: true}))
	get[Exited](l)
	l.ask(l.Drop(DropRequest{Slot: slot0}))
	r.stores(0)
}

// The death comes between a start and its record: the pipe tells whose it is.
func TestTheStoreKeepsTheUnrecorded(t *testing.T) {
	t.Parallel()
	r := newServiceRig(t, 10)
	l, _ := r.connect()
	r.lastWords(l, slot0)
	if err := os.Remove(filepath.Join(r.dir, "runs/table")); err != nil {
		t.Fatal(err)
	}
	r.startKeeper()
	l, slots := r.connect()
	if !slots[slot0].Adopted {
		t.Errorf("%+v", slots)
	}
	spec := r.spec(slot0, "")
	l.ask(l.Adopt(AdoptRequest{Slot: slot0, Spec: Spec{FIFO: spec.FIFO, Log: spec.Log}}))
	l.ask(l.Drop(DropRequest{Slot: slot0}))
	r.logged(slot0, "one\ntwo\nthree\n")
	r.stores(0)
}

// Whoever reaches the socket can put something into the store.
func TestTheStoreOfStrangers(t *testing.T) {
	t.Parallel()
	r := newServiceRig(t, 10)
	l, _ := r.connect()
	l.start(slot0, 1, r.spec(slot0, "echo ready; exec sleep 1000"))
	r.says(slot0, "ready")
	r.stores(1)
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	null, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	unix.Write(p[1], []byte("a lie\n"))
	unix.Close(p[1])
	ino, _ := inodeOf(p[0])
	r.manager.Put(p[0], storeName(ino))
	r.manager.Put(null, "theirs")
	r.die(l)
	r.startKeeper()
	_, slots := r.connect()
	if len(slots) != 1 || slots[slot0].PID == 0 {
		t.Errorf("%+v", slots)
	}
	nobodys(t, slots[slot0].PID)
	r.stores(2)
	if !slices.Contains(r.manager.Held(), "theirs") {
		t.Errorf("%v", r.manager.Held())
	}
}

// A service manager that hangs holds up nothing, and gets it all in the end.
func TestTheStoreIsFull(t *testing.T) {
	t.Parallel()
	r := newServiceRig(t, 90)
	resume := r.manager.Hang()
	l, _ := r.connect()
	const n = 100
	for i := range n {
		slot := "many/" + itoa(i)
		l.ask(l.Start(StartRequest{Slot: slot, Run: 1, Spec: r.command(slot, "/bin/sleep", "1000")}))
	}
	for range n {
		get[Started](l)
	}
	if held := len(r.manager.Held()); held > 1 {
		t.Errorf("it hangs, and holds %d", held)
	}
	resume()
	r.stores(90)
	eventually(t, "it is told that there is no room", func() bool { return strings.Contains(r.stderr(), "FileDescriptorStoreMax=") })
	l.ask(l.Quit(QuitRequest{}))
	r.code()
	if n := r.manager.Received(); n != 90 {
		t.Errorf("%d messages", n)
	}
}

// Over an upgrade the store stays as it is, and is known.
func TestTheStoreOverAnUpgrade(t *testing.T) {
	t.Parallel()
	r := newServiceRig(t, 10)
	l, _ := r.connect()
	l.start("other/0", 1, r.spec("other/0", "echo ready; exec sleep 1000"))
	r.says("other/0", "ready")
	l, _ = r.upgrade(l)
	r.lastWords(l, slot0)
	r.stores(2)
	r.startKeeper()
	l, slots := r.connect()
	nobodys(t, slots["other/0"].PID)
	l.ask(l.Adopt(AdoptRequest{Slot: slot0, Spec: r.spec(slot0, "")}))
	l.ask(l.Adopt(AdoptRequest{Slot: "other/0", Run: 1, Spec: r.spec("other/0", "")}))
	r.logged(slot0, "one\ntwo\nthree\n")
	l, _ = r.upgrade(l)
	r.stores(2)
	if n := r.manager.Received(); n != 2 {
		t.Errorf("%d messages for two pipes", n)
	}
	l.ask(l.Drop(DropRequest{Slot: slot0}))
	r.stores(1)
}

// What nobody needs any more does not stay in the store.
func TestTheStoreIsTidied(t *testing.T) {
	t.Parallel()
	r := newServiceRig(t, 10)
	l, _ := r.connect()
	for i := range 3 {
		slot := "orders/" + itoa(i)
		l.start(slot, 1, r.spec(slot, "echo ready; exec sleep 1000"))
		r.says(slot, "ready")
	}
	r.stores(3)
	l.ask(l.Quit(QuitRequest{}))
	r.code()
	r.startKeeper()
	l, _ = r.connect()
	r.stores(0)
	l.start(slot0, 2, r.spec(slot0, "echo again; exec sleep 1000"))
	r.says(slot0, "again")
	r.stores(1)
}

// The service manager listens to the keeper alone, store or not, and hears everything
// in order when it has not listened for a while.
func TestTheKeeperSpeaksForTheEngine(t *testing.T) {
	t.Parallel()
	r := newServiceRig(t, 0)
	l, _ := r.connect()
	resume := r.manager.Hang()
	var want []storetest.Saying
	for i := range 2000 { // more than a socket takes
		state := fmt.Sprint("STATUS=", i)
		want = append(want, storetest.Saying{PID: r.cmd.Process.Pid, State: state})
		l.ask(l.Notify(state))
	}
	l.start(slot0, 1, r.spec(slot0, "exec sleep 1000")) // nothing waits for it
	resume()
	eventually(t, "everything has been heard", func() bool { return len(r.manager.Said()) >= len(want) })
	if !slices.Equal(r.manager.Said(), want) {
		t.Error("not in order, or not of the keeper")
	}
}

// Without a store nobody is told anything.
func TestNoStore(t *testing.T) {
	t.Parallel()
	r := newServiceRig(t, 0)
	l, _ := r.connect()
	l.start(slot0, 1, r.spec(slot0, "exit 0"))
	get[Exited](l)
	l.ask(l.Quit(QuitRequest{}))
	r.code()
	if n := r.manager.Received(); n != 0 {
		t.Errorf("%d messages", n)
	}
}
