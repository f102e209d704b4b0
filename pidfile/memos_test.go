package pidfile

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func openBoth(t *testing.T, dir string) (*Runs, *Memos, map[string][]byte) {
	t.Helper()
	r, _, err := OpenRuns(dir)
	if err != nil {
		t.Fatal(err)
	}
	m, left, err := OpenMemos(dir, r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); m.Close() })
	return r, m, left
}

func put(t *testing.T, m *Memos, slot string, memo []byte) {
	t.Helper()
	if err := m.Put(slot, memo); err != nil {
		t.Fatal(err)
	}
}

func TestMemosOutliveTheirWriter(t *testing.T) {
	dir := t.TempDir()
	_, m, left := openBoth(t, dir)
	if len(left) > 0 {
		t.Errorf("%q", left)
	}
	long, name := bytes.Repeat([]byte("x\n"), MaxMemo/2), strings.Repeat("n", maxSlot)
	put(t, m, "a/0", []byte("first"))
	put(t, m, "a/1", []byte("gone"))
	put(t, m, name, long)
	put(t, m, "a/0", []byte("second"))
	put(t, m, "a/2", []byte("torn"))
	put(t, m, "a/3", nil)
	m.Forget("a/1")
	put(t, m, "a/4", []byte("in its place"))
	m.Forget("a/5")
	if err := m.Put("a/6", make([]byte, MaxMemo+1)); err == nil {
		t.Error("it is too long")
	}
	if _, err := m.f.WriteAt([]byte("T"), memosHead+m.index["a/2"]*memoBlock+10); err != nil {
		t.Fatal(err)
	}
	want := map[string][]byte{"a/0": []byte("second"), name: long, "a/3": {}, "a/4": []byte("in its place")}
	for range 2 {
		_, m, left = openBoth(t, dir)
		if d := cmp.Diff(want, left); d != "" {
			t.Fatal(d)
		}
	}
	put(t, m, "a/7", []byte("in the place of the torn one"))
	if err := m.Clear(); err != nil {
		t.Fatal(err)
	}
	put(t, m, "a/8", []byte("new"))
	if _, _, left = openBoth(t, dir); len(left) != 1 || string(left["a/8"]) != "new" {
		t.Errorf("%q", left)
	}
}

// A daemon in between has not known of memos: what they say is of another time.
func TestMemosOfAnotherRecord(t *testing.T) {
	dir := t.TempDir()
	_, m, _ := openBoth(t, dir)
	put(t, m, "a/0", []byte("old"))
	r, _, err := OpenRuns(dir)
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	if _, _, left := openBoth(t, dir); len(left) > 0 {
		t.Errorf("%q", left)
	}
	_, m, _ = openBoth(t, dir)
	put(t, m, "a/0", []byte("of another boot"))
	path := filepath.Join(dir, memosName)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	copy(text[strings.Index(string(text), "boot ")+5:], "00000000")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, left := openBoth(t, dir); len(left) > 0 {
		t.Errorf("%q", left)
	}
}

func FuzzParseMemo(f *testing.F) {
	f.Add([]byte("a/0 3 12345678\nabc"))
	f.Add([]byte(""))
	f.Fuzz(func(t *testing.T, block []byte) {
		if _, memo, ok := parseMemo(block); ok && len(memo) > len(block) {
			t.Errorf("%q", memo)
		}
	})
}

func BenchmarkPutMemo(b *testing.B) {
	dir := b.TempDir()
	r, _, err := OpenRuns(dir)
	if err != nil {
		b.Fatal(err)
	}
	m, _, err := OpenMemos(dir, r)
	if err != nil {
		b.Fatal(err)
	}
	memo := make([]byte, 1500)
	for b.Loop() {
		if err := m.Put("orders/0", memo); err != nil {
			b.Fatal(err)
		}
	}
}
