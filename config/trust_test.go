package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestRootObeysOnlyRoot needs root: files are given to others.
func TestRootObeysOnlyRoot(t *testing.T) {
	const other = 33 // www-data on Debian; any number does
	for name, c := range map[string]struct {
		spoil func(dir, file string) error
		says  string
	}{
		"as it should be":      {func(dir, file string) error { return nil }, ""},
		"group root":           {func(dir, file string) error { return os.Chmod(file, 0o664) }, ""},
		"sticky directory":     {func(dir, file string) error { return os.Chmod(dir, os.ModeSticky|0o777) }, ""},
		"file of another":      {func(dir, file string) error { return os.Chown(file, other, 0) }, "may change DIR/conf/q.yaml; run chown root DIR/conf/q.yaml"},
		"writable for all":     {func(dir, file string) error { return os.Chmod(file, 0o666) }, "everybody may change DIR/conf/q.yaml; run chmod o-w DIR/conf/q.yaml"},
		"writable for a group": {func(dir, file string) error { return joined(os.Chown(file, 0, other), os.Chmod(file, 0o660)) }, "may change DIR/conf/q.yaml; run chmod g-w"},
		"directory of another": {func(dir, file string) error { return os.Chown(dir, other, 0) }, "may change DIR/conf; run chown root DIR/conf"},
		"open directory":       {func(dir, file string) error { return os.Chmod(dir, 0o777) }, "everybody may change DIR/conf;"},
		"open parent":          {func(dir, file string) error { return os.Chmod(filepath.Dir(dir), 0o777) }, "everybody may change DIR;"},
		"link into the hands of another": {func(dir, file string) error {
			there := filepath.Join(dir, "there")
			return joined(os.Mkdir(there, 0o700), os.Chown(there, other, 0), os.Rename(file, there+"/q.yaml"), os.Symlink("there/../there/q.yaml", file))
		}, "may change DIR/conf/there; run chown root"},
	} {
		dir := t.TempDir()
		file := filepath.Join(dir, "conf", "q.yaml")
		err := joined(os.Chmod(dir, 0o755), os.Mkdir(filepath.Dir(file), 0o755), os.WriteFile(file, []byte("consumers: {}\n"), 0o644))
		if err == nil {
			err = c.spoil(filepath.Dir(file), file)
		}
		if err != nil {
			t.Fatalf("%s: %v (run the tests as root)", name, err)
		}
		cfg, err := Load(file, testOptions())
		if err != nil {
			t.Fatal(err)
		}
		problems := CheckHost(cfg)
		want := strings.ReplaceAll(c.says, "DIR", dir)
		if want == "" && len(problems) > 0 || want != "" && (len(problems) != 1 || !strings.Contains(problems[0].String(), want)) {
			t.Errorf("%s: %v, want %q", name, problems, want)
		}
	}
}

func TestRootObeysOnlyRootInIncludes(t *testing.T) {
	file := write(t, "include: [more.yaml]\nconsumers: {}\n")
	more := filepath.Join(filepath.Dir(file), "more.yaml")
	if err := joined(os.WriteFile(more, []byte("consumers: {}\n"), 0o600), os.Chmod(more, 0o666)); err != nil {
		t.Fatal(err)
	}
	cfg, err := Load(file, testOptions())
	if err != nil {
		t.Fatal(err)
	}
	if problems := CheckHost(cfg); len(problems) != 1 || !strings.Contains(problems[0].String(), more+": root does not obey it: everybody may change "+more) {
		t.Errorf("%v", problems)
	}
}

func joined(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func TestLogDirThroughALink(t *testing.T) {
	dir := t.TempDir()
	link := filepath.Join(dir, "link")
	if err := joined(os.Mkdir(filepath.Join(dir, "real"), 0o755), os.Symlink("real", link)); err != nil {
		t.Fatal(err)
	}
	if got, err := WithoutLinks(link + "/logs"); got != dir+"/real/logs" || err != nil {
		t.Errorf("%s, %v", got, err)
	}
	if err := os.Lchown(link, 33, 33); err != nil {
		t.Fatal(err, " (run the tests as root)")
	}
	c := load(t, "daemon: {log_dir: "+link+"/logs}\nconsumers: {}\n")
	if problems := CheckHost(c); len(problems) != 1 || !strings.Contains(problems[0].String(), "daemon.log_dir: "+link+" is a link of user") {
		t.Errorf("%v", problems)
	}
}
