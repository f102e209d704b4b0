package config

import (
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files anew")

// testOptions is root without an environment but these variables.
func testOptions() Options {
	vars := map[string]string{
		"RABBIT_PASSWORD": "s3cret-rabbit", "NATS_PASSWORD": "s3cret-nats", "KAFKA_PASSWORD": "s3cret-kafka",
		"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "s3cret-aws", "DB_PASSWORD": "s3cret-db", "COUNT": "3", "EMPTY": "",
		"NOT_A_NUMBER": "s3cret-number", "HOME": "/home/u",
	}
	return Options{
		LookupEnv: func(name string) (string, bool) { v, ok := vars[name]; return v, ok },
		EUID:      func() int { return 0 },
	}
}

// golden compares got with a file, or writes it with -update.
func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got; go test -update writes it anew):\n%s", path, diff)
	}
}

func TestBadFiles(t *testing.T) {
	files, _ := filepath.Glob("testdata/bad/*.yaml")
	if len(files) < 40 {
		t.Fatalf("only %d files in testdata/bad", len(files))
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			_, err := Load(file, testOptions())
			var e *Error
			if !errors.As(err, &e) {
				t.Fatalf("got %v, want an *Error", err)
			}
			if strings.Contains(err.Error(), "s3cret") {
				t.Errorf("a secret is shown:\n%v", err)
			}
			golden(t, strings.TrimSuffix(file, ".yaml")+".txt", strings.ReplaceAll(err.Error(), "testdata/bad/", "")+"\n")
		})
	}
}

func TestGoodFiles(t *testing.T) {
	files, _ := filepath.Glob("testdata/good/*.yaml")
	if len(files) < 5 {
		t.Fatalf("only %d files in testdata/good", len(files))
	}
	pwd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			c, err := Load(file, testOptions())
			if err != nil {
				t.Fatal(err)
			}
			shown, err := json.MarshalIndent(c, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(string(shown), "s3cret") {
				t.Errorf("a secret is shown:\n%s", shown)
			}
			golden(t, strings.TrimSuffix(file, ".yaml")+".json", strings.ReplaceAll(string(shown), pwd, "$PWD")+"\n")
		})
	}
}
