package proc

import (
	"os"
	"strconv"
	"strings"
	"testing"
)

func TestReserveDescriptors(t *testing.T) {
	ReserveDescriptors(2000)
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(status), "\nFDSize:")
	line, _, _ := strings.Cut(after, "\n")
	if size, err := strconv.Atoi(strings.TrimSpace(line)); err != nil || size < 2000 {
		t.Errorf("the table has room for %d descriptors: %v", size, err)
	}
	if open, err := os.ReadDir("/proc/self/fd"); err != nil || len(open) > 500 {
		t.Errorf("%d descriptors are open: %v", len(open), err)
	}
}
