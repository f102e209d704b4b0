package proc

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// TestCleanMappings: what can be written, has been written or belongs to another
// file is not touched.
func TestCleanMappings(t *testing.T) {
	body := func(dirty string) string {
		return "Size: 4 kB\nPrivate_Clean: 4 kB\nPrivate_Dirty: 8 kB\nAnonymous: " + dirty + " kB\nSwap: 0 kB\nVmFlags: rd ex mr mw me\n"
	}
	smaps := "00400000-01000000 r-xp 00000000 fe:00 12 /usr/bin/my qsuper\n" + body("0") +
		"01000000-02000000 r--p 00c00000 fe:00 12 /usr/bin/my qsuper\n" + body("8") +
		"02000000-03000000 r--p 00c00000 fe:00 12 /usr/bin/my qsuper\n" + body("0") +
		"03000000-04000000 rw-p 00c00000 fe:00 12 /usr/bin/my qsuper\n" + body("0") +
		"05000000-06000000 r-xp 00000000 fe:00 13 /usr/lib/other\n" + body("0") +
		"c000000000-c000400000 rw-p 00000000 00:00 0\n" + body("0")
	want := []mapping{{0x400000, 0x1000000}, {0x2000000, 0x3000000}}
	if got := clean([]byte(smaps), "/usr/bin/my qsuper"); !slices.Equal(got, want) {
		t.Errorf("%x", got)
	}
}

// TestReleaseText: less is mapped afterwards, and the program goes on.
func TestReleaseText(t *testing.T) {
	before := resident(t)
	ReleaseText()
	if after := resident(t); after >= before {
		t.Errorf("%d kB of files before, %d after", before, after)
	}
}

func resident(t *testing.T) (kb int) {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "RssFile:"); ok {
			for _, c := range strings.Fields(rest)[0] {
				kb = kb*10 + int(c-'0')
			}
		}
	}
	return kb
}
