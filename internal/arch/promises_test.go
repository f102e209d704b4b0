package arch

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestPromisesNameTests: docs/promises.md names only tests and faults that there are.
func TestPromisesNameTests(t *testing.T) {
	page, err := os.ReadFile("../../docs/promises.md")
	if err != nil {
		t.Fatal(err)
	}
	var tests strings.Builder
	err = filepath.WalkDir("../..", func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		tests.Write(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	names := regexp.MustCompile(`\bTest[A-Z]\w+|\bF\d{3}\b`).FindAllString(string(page), -1)
	if len(names) < 40 {
		t.Errorf("only %d names", len(names))
	}
	for _, name := range names {
		want := `{"` + name + `",`
		if strings.HasPrefix(name, "Test") {
			want = "func " + name + "("
		}
		if !strings.Contains(tests.String(), want) {
			t.Errorf("docs/promises.md names %s, which there is not", name)
		}
	}
}
