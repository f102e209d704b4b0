package control

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func processOwner() uint32 { return uint32(os.Geteuid()) }

// staleSocket leaves a socket file that nobody listens on.
func staleSocket(t *testing.T, path string) {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
}

func TestSocketMode(t *testing.T) {
	dir := t.TempDir()
	old := unix.Umask(0) // the worst umask for a bind-then-chmod
	defer unix.Umask(old)
	r := newTestServer(t, &fakeDaemon{}, filepath.Join(dir, "q.sock")).start(t)
	info, err := os.Lstat(r.path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode() != fs.ModeSocket|0o600 {
		t.Errorf("mode without a group is %v, want 0600", info.Mode())
	}

	g, err := user.LookupGroupId(groupOfProcess())
	if err != nil {
		t.Fatal(err)
	}
	n := newTestServer(t, &fakeDaemon{}, filepath.Join(dir, "new", "dir", "q.sock"))
	n.opts.Group, n.opts.Mode = g.Name, 0o660
	n.start(t)
	for path, want := range map[string]fs.FileMode{n.path: fs.ModeSocket | 0o660, filepath.Dir(n.path): fs.ModeDir | 0o750} {
		if info, err := os.Lstat(path); err != nil || info.Mode() != want {
			t.Errorf("%s: %v, %v; want %v", path, info.Mode(), err, want)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(n.path), ".*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// TestBornPrivate looks at the mode a bound socket has before anything else is done to it.
func TestBornPrivate(t *testing.T) {
	dir := t.TempDir()
	old := unix.Umask(0)
	defer unix.Umask(old)
	path := filepath.Join(dir, "s")
	l, err := bind(context.Background(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if info, err := os.Lstat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("born with %v, %v", info.Mode(), err)
	}
}

func TestStaleSocketIsReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "q.sock")
	staleSocket(t, path)
	r := newTestServer(t, &fakeDaemon{}, path).start(t)
	if _, err := New(r.path).Status(context.Background(), StatusQuery{}); err != nil {
		t.Error(err)
	}
}

// The kernel connects for a daemon that is stopped or hangs.
func TestHungSocketIsReplaced(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "q.sock")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	defer l.Close()
	r := newTestServer(t, &fakeDaemon{}, path).start(t)
	if _, err := New(r.path).Status(context.Background(), StatusQuery{}); err != nil {
		t.Error(err)
	}
}

func TestSecondServerTouchesNothing(t *testing.T) {
	r := serve(t, &fakeDaemon{})
	before, _ := identify(r.path)
	err := newTestServer(t, &fakeDaemon{}, r.path).Run(context.Background())
	if in, ok := errors.AsType[*InUse](err); !ok || in.Path != r.path {
		t.Fatalf("second server: %v", err)
	}
	if after, err := identify(r.path); err != nil || after != before {
		t.Errorf("the first one's socket was touched: %v %v %v", before, after, err)
	}
	if _, err := New(r.path).Status(context.Background(), StatusQuery{}); err != nil {
		t.Error(err)
	}
}

func TestRemovesOnlyItsOwn(t *testing.T) {
	r := serve(t, &fakeDaemon{})
	os.Remove(r.path)
	if err := os.WriteFile(r.path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	if text, _ := os.ReadFile(r.path); string(text) != "precious" {
		t.Error("a foreign file was removed")
	}
	own := serve(t, &fakeDaemon{})
	if err := own.stop(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(own.path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("its own socket was left: %v", err)
	}
}

func TestListenRefuses(t *testing.T) {
	dir := t.TempDir()
	mk := func(name string, mode fs.FileMode) string {
		d := filepath.Join(dir, name)
		if err := errors.Join(os.Mkdir(d, 0o700), os.Chmod(d, mode)); err != nil {
			t.Fatal(err)
		}
		return filepath.Join(d, "s")
	}
	file := mk("file", 0o755)
	os.WriteFile(file, []byte("precious"), 0o644)
	link := mk("link", 0o755)
	os.Symlink(file, link)
	cases := []struct{ name, path, group, want string }{
		{"regular file", file, "", "is no socket"},
		{"symlink", link, "", "is no socket"},
		{"open directory", mk("open", 0o777), "", "writable for everybody"},
		{"long path", filepath.Join(dir, strings.Repeat("d", 100), "s"), "", "107"},
		{"directory is a file", filepath.Join(file, "s"), "", "is no directory"},
		{"unknown group", mk("group", 0o755), "no-such-group-here", "groupadd"},
	}
	for _, tc := range cases {
		r := newTestServer(t, &fakeDaemon{}, tc.path)
		r.opts.Group = tc.group
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if _, err := listen(ctx, r.opts); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want …%s…", tc.name, err, tc.want)
		}
	}
	if text, _ := os.ReadFile(file); string(text) != "precious" {
		t.Error("the file in the way was touched")
	}
	sticky := newTestServer(t, &fakeDaemon{}, mk("sticky", fs.ModeSticky|0o777))
	sticky.start(t)
}

func TestForeignDirectoryIsRefused(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Log("only root can give a directory away; nothing to check")
		return
	}
	dir := filepath.Join(t.TempDir(), "theirs")
	if err := errors.Join(os.Mkdir(dir, 0o755), os.Chown(dir, 65534, 65534)); err != nil {
		t.Fatal(err)
	}
	err := newTestServer(t, &fakeDaemon{}, filepath.Join(dir, "s")).Run(context.Background())
	if err == nil || !strings.Contains(err.Error(), "belongs to uid 65534") {
		t.Errorf("got %v", err)
	}
}

// What lies in the place of the socket is not touched, and the daemon lives on:
// once it is moved away it can be reached.
func TestOccupiedPlaceIsWaitedFor(t *testing.T) {
	r := newTestServer(t, &fakeDaemon{}, "")
	r.watch = 10 * time.Millisecond
	if err := os.WriteFile(r.path, []byte("precious"), 0o644); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	select {
	case err := <-ended:
		t.Fatalf("it has given up: %v", err)
	case <-r.Ready():
		t.Fatal("it says that it can be reached")
	case <-time.After(100 * time.Millisecond):
	}
	if err := os.Rename(r.path, r.path+".away"); err != nil {
		t.Fatal(err)
	}
	<-r.Ready()
	if _, err := New(r.path).Status(t.Context(), StatusQuery{}); err != nil {
		t.Error(err)
	}
	if text, _ := os.ReadFile(r.path + ".away"); string(text) != "precious" {
		t.Errorf("what lay there is %q", text)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// TestSocketComesBack takes the file away, as cleaners of /tmp do.
func TestSocketComesBack(t *testing.T) {
	r := newTestServer(t, &fakeDaemon{}, "")
	r.watch = 10 * time.Millisecond
	r.start(t)
	old, err := net.Dial("unix", r.path)
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	os.Remove(r.path)
	eventually(t, "the socket to be made again", func() bool {
		_, err := os.Lstat(r.path)
		return err == nil
	})
	if _, err := New(r.path).Status(context.Background(), StatusQuery{}); err != nil {
		t.Error(err)
	}
	if err := r.stop(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(r.path); !errors.Is(err, syscall.ENOENT) {
		t.Errorf("the second socket was left: %v", err)
	}
}
