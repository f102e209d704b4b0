// Package migratetest is what the tests of all importers share.
package migratetest

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"qsuper/migrate"
)

var update = flag.Bool("update", false, "write the files in testdata/golden, and docs/corpus.md when QSUPER_CORPUS is set")

// Updating says whether the tests are to write down what they find.
func Updating() bool { return *update }

// Corpus lists the files to try: the project's own that match the pattern, and those
// of the directory in QSUPER_CORPUS, which has such a folder with files of other people.
func Corpus(t testing.TB, pattern, folder string) []string {
	t.Helper()
	files := glob(t, pattern)
	if dir := os.Getenv("QSUPER_CORPUS"); dir != "" {
		files = append(files, glob(t, filepath.Join(dir, folder, "*.conf"))...)
	}
	return files
}

func glob(t testing.TB, pattern string) []string {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("no files are %s: %v", pattern, err)
	}
	return files
}

// Own says whether a file is the project's own.
func Own(file string) bool { return strings.HasPrefix(file, "testdata") }

// Same loads what was written, and finds nothing that the report does not tell.
func Same(t testing.TB, r *migrate.Result, lookup func(string) (string, bool)) {
	t.Helper()
	text := r.Document.Bytes()
	found, err := migrate.Verify(text, r.Expected, r.Report.Items, lookup)
	if err != nil {
		t.Errorf("%v in\n%s", err, text)
	}
	for _, d := range found {
		if !d.Known {
			t.Error(d)
		}
	}
}

// Text is what was written, and the report.
func Text(r *migrate.Result) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n", r.Document.Bytes())
	for _, i := range r.Report.Items {
		fmt.Fprintln(&b, i)
	}
	fmt.Fprintf(&b, "%s: exit %d\n", r.Report.Summary(), r.Report.Code())
	return b.String()
}

// Golden compares with testdata/golden/NAME.txt. The directory of the test reads
// $PWD in there.
func Golden(t testing.TB, name, got string) {
	t.Helper()
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	got = strings.ReplaceAll(got, here, "$PWD")
	path := filepath.Join("testdata", "golden", name+".txt")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got; -update writes it):\n%s", path, diff)
	}
}
