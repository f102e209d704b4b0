// Package arch holds the rules of ARCHITECTURE.md and CONTRIBUTING.md as tests.
package arch

import (
	"bufio"
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const root = "../.."

// imports is the drawing of ARCHITECTURE.md: what each package may import of
// this module. cmd and what serves tests or measurements may import anything.
var imports = map[string][]string{
	"control":            {"internal/kind"},
	"alert":              {"config", "control", "internal/kind"},
	"metrics":            {"control"},
	"web":                {"control", "internal/kind"},
	"runner":             {"plan", "config", "keeper", "slot", "schedule", "health", "lease", "proc", "trace"},
	"plan":               {"slot", "health", "schedule"},
	"trace":              {"plan", "slot"},
	"simulate":           {"plan", "slot", "health"},
	"slot":               {},
	"config":             {"schedule", "health", "lease", "internal/kind", "internal/failpoint", "internal/pattern"},
	"schedule":           {},
	"health":             {"internal/kind"},
	"health/backends":    {"health", "internal/kind", "internal/pattern"},
	"keeper":             {"proc", "logs", "lock", "lock/backends/file", "pidfile", "internal/failpoint"},
	"proc":               {"internal/vfork"},
	"logs":               {},
	"lease":              {"health", "internal/kind"},
	"lease/backends":     {"lease", "health", "health/backends", "internal/kind", "internal/pattern"},
	"lock":               {},
	"lock/backends/file": {"lock"},
	"pidfile":            {},
	"migrate":            {"config", "internal/pattern"},
	"migrate/supervisor": {"migrate", "internal/pattern"},
	"migrate/crontab":    {"migrate", "schedule", "internal/pattern"},
	"migrate/magento":    {"migrate"},
	"migrate/systemd":    {"migrate", "internal/pattern"},
	"internal/kind":      {"internal/pattern"},
	"internal/failpoint": {},
	"internal/pattern":   {},
	"internal/vfork":     {},
	"internal/bubble":    {},
	"internal/arch":      {},
}

// pure packages decide; they may not look at the world.
var pure = map[string][]string{
	"slot": {"context", "os", "sync", "log/slog", "net", "io"},
	"plan": {"context", "os", "sync", "log/slog", "net", "io"},

	"simulate": {"context", "os", "sync", "log/slog", "net", "io"},
}

// outside says which packages may import modules other than this one.
var outside = map[string][]string{
	"schedule":           {"github.com/robfig/cron/v3"},
	"internal/kind":      {"gopkg.in/yaml.v3"},
	"config":             {"golang.org/x/sys"},
	"runner":             {"github.com/shirou/gopsutil/v3", "golang.org/x/sys"},
	"proc":               {"golang.org/x/sys", "github.com/shirou/gopsutil/v3"},
	"logs":               {"golang.org/x/sys"},
	"keeper":             {"golang.org/x/sys"},
	"pidfile":            {"golang.org/x/sys"},
	"lock/backends/file": {"golang.org/x/sys"},
	"control":            {"golang.org/x/sys"},
	"alert":              {"github.com/wneessen/go-mail"},
	"metrics":            {"github.com/prometheus/client_golang"},
	"migrate/supervisor": {"golang.org/x/sys"},
	"migrate/magento":    {"gopkg.in/yaml.v3"},
	"migrate/systemd":    {"golang.org/x/sys"},
}

type pkg struct {
	ImportPath string
	Dir        string
	Doc        string
	Imports    []string
	GoFiles    []string
}

// packages lists the module's packages without their tests.
func packages(t *testing.T) map[string]pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Dir,Doc,Imports,GoFiles", "./...")
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	all := map[string]pkg{}
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := d.Decode(&p); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		all[strings.TrimPrefix(p.ImportPath, "qsuper/")] = p
	}
	return all
}

// free are packages that serve the binary's wiring, tests and measurements.
func free(name string) bool {
	return strings.HasPrefix(name, "cmd/") || strings.HasPrefix(name, "test/") || strings.HasPrefix(name, "bench") ||
		strings.HasSuffix(name, "test") || name == "test"
}

func TestImports(t *testing.T) {
	for name, p := range packages(t) {
		if free(name) {
			continue
		}
		allowed, ok := imports[name]
		if !ok {
			t.Errorf("package %s is not in the table", name)
		}
		for _, i := range p.Imports {
			if own, ok := strings.CutPrefix(i, "qsuper/"); ok {
				if !slices.Contains(allowed, own) {
					t.Errorf("%s imports %s", name, own)
				}
				continue
			}
			if slices.Contains(pure[name], i) {
				t.Errorf("%s imports %s, but it is pure", name, i)
			}
			foreign := strings.Contains(strings.SplitN(i, "/", 2)[0], ".")
			fits := func(m string) bool { return i == m || strings.HasPrefix(i, m+"/") }
			if foreign && name != "health/backends" && name != "lease/backends" && !slices.ContainsFunc(outside[name], fits) {
				t.Errorf("%s imports %s", name, i)
			}
		}
	}
}

func TestEveryPackageSaysWhatItIs(t *testing.T) {
	for name, p := range packages(t) {
		if len(p.GoFiles) > 0 && p.Doc == "" {
			t.Errorf("package %s has no doc comment", name)
		}
	}
}

// sources visits every Go file of the module.
func sources(t *testing.T, visit func(path string)) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != root && strings.HasPrefix(d.Name(), "."):
			return filepath.SkipDir
		case strings.HasSuffix(path, ".go"):
			visit(path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// programs parses every file of Go that is not a test.
func programs(t *testing.T, visit func(path string, set *token.FileSet, f *ast.File)) {
	t.Helper()
	sources(t, func(path string) {
		if strings.HasSuffix(path, "_test.go") {
			return
		}
		set := token.NewFileSet()
		f, err := parser.ParseFile(set, path, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		visit(path, set, f)
	})
}

func TestFilesAndFunctionsAreShort(t *testing.T) {
	const lines, body = 430, 60
	programs(t, func(path string, set *token.FileSet, f *ast.File) {
		if n := set.Position(f.End()).Line; n > lines {
			t.Errorf("%s has %d lines: is it still one room?", path, n)
		}
		for _, d := range f.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			if n := set.Position(fn.End()).Line - set.Position(fn.Pos()).Line + 1; n > body {
				t.Errorf("%s: %s has %d lines", path, fn.Name.Name, n)
			}
		}
	})
}

// TestPatternsAreLazy: an expression that is compiled when the program begins is paid
// for by every command.
func TestPatternsAreLazy(t *testing.T) {
	programs(t, func(path string, set *token.FileSet, f *ast.File) {
		for _, d := range f.Decls {
			if v, ok := d.(*ast.GenDecl); ok && v.Tok == token.VAR {
				ast.Inspect(v, func(n ast.Node) bool {
					if _, inside := n.(*ast.FuncLit); inside {
						return false
					}
					if s, ok := n.(*ast.SelectorExpr); ok && s.Sel.Name == "MustCompile" {
						t.Errorf("%s: use pattern.Lazy", set.Position(s.Pos()))
					}
					return true
				})
			}
		}
	})
}

// TestBubblesHaveOneProcessor: see package bubble.
func TestBubblesHaveOneProcessor(t *testing.T) {
	uses, calls := map[string]bool{}, map[string]bool{
		"../../keeper": true, // one goroutine a bubble; its other tests need the processors
	}
	sources(t, func(path string) {
		if !strings.HasSuffix(path, "_test.go") || strings.Contains(path, "internal/arch") {
			return
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		dir := filepath.ToSlash(filepath.Dir(path))
		uses[dir] = uses[dir] || strings.Contains(string(raw), `"testing/synctest"`)
		calls[dir] = calls[dir] || strings.Contains(string(raw), "bubble.Main(m)")
	})
	for dir, is := range uses {
		if is && !calls[dir] {
			t.Errorf("%s has tests in bubbles, and no TestMain that calls bubble.Main", dir)
		}
	}
}

// TestNothingIsSkipped: a test that cannot run is no test that passed.
func TestNothingIsSkipped(t *testing.T) {
	sources(t, func(path string) {
		if !strings.HasSuffix(path, "_test.go") || strings.Contains(path, "internal/arch") {
			return
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		text := string(raw)
		if strings.Contains(text, "testing/synctest") {
			return
		}
		n := 0
		for lines := bufio.NewScanner(strings.NewReader(text)); lines.Scan(); {
			n++
			if strings.Contains(lines.Text(), ".Skip(") || strings.Contains(lines.Text(), ".Skipf(") {
				t.Errorf("%s:%d skips: a test that cannot run fails and says what to install", path, n)
			}
		}
	})
}

func TestReasonsAreDocumented(t *testing.T) {
	raw, err := os.ReadFile(filepath.Join(root, "docs", "gates.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, code := range codes(t) {
		if !strings.Contains(string(raw), "`"+code+"`") {
			t.Errorf("docs/gates.md does not explain the reason %q", code)
		}
	}
}

// codes reads the reason codes from the source, so that this package imports
// nothing.
func codes(t *testing.T) []string {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, "slot", "reason.go"), nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	ast.Inspect(f, func(n ast.Node) bool {
		if spec, ok := n.(*ast.ValueSpec); ok {
			if id, ok := spec.Type.(*ast.Ident); ok && id.Name == "Code" {
				for _, v := range spec.Values {
					list = append(list, strings.Trim(v.(*ast.BasicLit).Value, `"`))
				}
			}
		}
		return true
	})
	return list
}
