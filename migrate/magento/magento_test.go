package magento

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	_ "qsuper/health/backends"
	"qsuper/migrate"
	"qsuper/migrate/migratetest"
)

// TestPlainAgreesWithPHP: the reader of plain arrays sees what PHP sees.
func TestPlainAgreesWithPHP(t *testing.T) {
	files := []string{"testdata/shop/app/etc/env.php", "testdata/old/app/etc/env.php"}
	for i, body := range []string{
		"return [1, 5 => 'a', 'b', '7' => 'c', 'd', -3 => 'e'];", "return ['x' => ['y' => ['z' => []]], 'q' => \"a\\tb\\\\c\\'d\"];",
		"return ARRAY( 'a' => TRUE, 'b' => False, 'c' => nUll, ) ; // end", "# comment\nreturn /* x */ ['a' /* y */ => /* z */ 1.5e0, // t\n];",
	} {
		name := filepath.Join(t.TempDir(), fmt.Sprintf("%d.php", i))
		if err := os.WriteFile(name, []byte("<?php\n"+body), 0o600); err != nil {
			t.Fatal(err)
		}
		files = append(files, name)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command("php", "-r", `echo json_encode(include $argv[1], JSON_FORCE_OBJECT);`, file).Output()
		if err != nil {
			t.Fatalf("%v: apt-get install --no-install-recommends php-cli", err)
		}
		var want any
		if err := json.Unmarshal(out, &want); err != nil {
			t.Fatal(err)
		}
		m, err := plain(string(data))
		if strings.Contains(string(data), "1.5e0") {
			if err == nil {
				t.Errorf("an exponent was read as %v", m)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		text, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		var got any
		if err := json.Unmarshal(text, &got); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-PHP +this):\n%s", file, diff)
		}
	}
}

// TestPlainRefuses: what only PHP can read is an error with its line.
func TestPlainRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"<?php\nreturn ['a' => getenv('X')];": "line 2", "<?php\nreturn [\n'a' => 'b' . 'c'];": "line 3", "<?php return ['a' => \"$x\"];": "a variable",
		"<?php return ['a' => 'open];": "not closed", "<?php return ['a' => 1": "", "<?php return 5;": "no array", "<?php return " + strings.Repeat("[", 200): "nested",
		"<?php return [PHP_INT_MAX];": "no plain value", "<?php return ['a' 'b'];": "no plain value",
	} {
		if m, err := plain(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, %v; want %q", text, m, err, want)
		}
	}
}

func FuzzPlain(f *testing.F) {
	for _, text := range []string{"<?php return ['a' => [1, 'x'], // c\n];", "'a' => [ 'b' ], ...", "<?php return array('x' => \"a\\n\",);"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if m, err := plain(text); err == nil && m == nil {
			t.Error("neither an array nor an error")
		}
	})
}

func TestConvert(t *testing.T) {
	for name, c := range map[string]struct {
		file  string
		o     Options
		names []string
	}{
		"shop":       {file: "testdata/shop"},
		"shop-plain": {file: "testdata/shop/app/etc/env.php", o: Options{NoPHP: true}},
		"shop-list":  {file: "testdata/shop", names: []string{"exportProcessor"}},
		"old":        {file: "testdata/old/app/etc/env.php"},
		"cloud":      {file: "testdata/cloud/.magento.env.yaml", o: Options{Root: "/app"}},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := Read(c.file, c.o)
			if err != nil {
				t.Fatal(err)
			}
			if s.PHP == (c.o.NoPHP || s.FromYAML) {
				t.Errorf("read by PHP: %v", s.PHP)
			}
			s.Owner = "www-data"
			r := Convert(s, c.names, migrate.Modern)
			migratetest.Same(t, r, passwords)
			migratetest.Golden(t, name, migratetest.Text(r))
		})
	}
}

// TestCorpus reads the files of other people, in the folder `magento` of the
// directory in QSUPER_CORPUS: what is written loads and starts what they say.
func TestCorpus(t *testing.T) {
	for _, f := range migratetest.Corpus(t, "testdata/cloud/.magento.env.yaml", "magento") {
		s, err := Read(f, Options{})
		if err != nil {
			t.Errorf("%s: %v", f, err)
			continue
		}
		r := Convert(s, nil, migrate.Modern)
		migratetest.Same(t, r, passwords)
		t.Logf("%s: exit %d: %s", filepath.Base(f), r.Report.Code(), r.Report.Summary())
	}
}

// passwords are in the environment, where the file says that they are.
func passwords(name string) (string, bool) {
	return "x", name == DBPassword || name == AMQPPassword
}
