package main

import (
	"cmp"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"qsuper/config"
	"qsuper/health"
	"qsuper/internal/kind"
	"qsuper/lease"
)

const configurationFile = "../../docs/configuration.md"

// TestConfiguration: docs/configuration.md is what the structs of the file and
// their comments say; -update writes it anew.
func TestConfiguration(t *testing.T) {
	want := configuration(t)
	if *update {
		if err := os.WriteFile(configurationFile, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(configurationFile)
	if err != nil {
		t.Fatal(err)
	}
	if string(have) != want {
		t.Error("docs/configuration.md is stale: go test ./cmd/qsuper -run TestConfiguration -update")
	}
}

const configurationHead = `# Every key of the file

Made from the code (` + "`make generate`" + `). [config.example.yaml](../config.example.yaml) shows all of them in one file.

Durations need a unit (` + "`90s`, `10m`, `1h30m`" + `); sizes are 1024-based (` + "`64MiB` = `64MB`" + `); ` + "`${VAR}` and `${VAR:-default}`" + ` are filled in
from the environment when the file is loaded (` + "`$$`" + ` is a plain ` + "`$`" + `); relative paths start at the directory of the file. A key that is not listed here is
an error. **Bold** keys must be given. No default means: not set.
`

func configuration(t *testing.T) string {
	b := &keyTables{t: t, comments: configComments(t)}
	k := config.AllKeys()
	b.WriteString(configurationHead)
	b.section("The file", "An included file has `connections`, `locks`, `consumers` and `jobs`.", k.File)
	b.section("`daemon`", "", k.Daemon)
	b.section("`connections`", "What each type measures: [backends](backends.md). Of every type:", k.Connections)
	b.section("`tls`", "", kind.Describe(&kind.TLS{}))
	for _, h := range health.Kinds() {
		b.section("`type: "+h.Type+"`", "", h.Keys)
		b.WriteString(queueLine(h))
	}
	b.section("`queue`, of a consumer", "Which keys a queue takes depends on its connection; see there.", k.Queue)
	b.section("`locks`", "How hosts share slots: [shared slots](shared-slots.md). Of every type:", k.Locks)
	for _, l := range lease.Kinds() {
		b.section("`type: "+l.Type+"`, of a lock", "", l.Keys)
	}
	b.section("`consumers` and `defaults`", "One of `command`, `shell` and `preset` must be given. `defaults` holds the same keys for all; a consumer's own win, maps are merged by key.", k.Consumers)
	for _, name := range slices.Sorted(maps.Keys(k.Presets)) {
		b.section("`preset: {type: "+name+"}`", "", k.Presets[name])
	}
	b.section("`restart_on`", "Each entry has one of these. See [restart signals](restart-signals.md).", k.RestartOn)
	b.section("`foreign_lock`", "See [foreign locks](foreign-locks.md).", k.ForeignLock)
	b.section("`jobs`", "The keys of a consumer, without `"+strings.Join(k.NotOfJobs, "`, `")+"`; `instances` is how many runs there may be at once. See [jobs](jobs.md).", k.Jobs)
	b.section("`alerts`", "A list. See [alerts](alerts.md).", k.Alerts)
	b.WriteString(placeholderText)
	return b.String()
}

const placeholderText = `
## Placeholders

In ` + "`command`, `shell`, `env`, `dir`, `preset`, `app_restart` and `foreign_lock`" + `:

| | |
|---|---|
| ` + "`{name}`" + ` | name of the consumer or job |
| ` + "`{slot}`, `{slot1}`" + ` | number of the instance, from 0 and from 1; ` + "`{slot:02}`" + ` has two digits |
| ` + "`{instances}`" + ` | how many instances there are at most |
| ` + "`{queue}`" + ` | name of the queue |
| ` + "`{max_messages}`" + ` | number |
| ` + "`{time_limit}`" + ` | seconds |
| ` + "`{memory_limit}`" + ` | MiB |
| ` + "`{magento_lock}`" + ` | in ` + "`foreign_lock`" + `: the name under which Magento locks the consumer |

` + "`{{slot}}` is the text `{slot}`" + `: where braces are doubled around one word of small letters, one pair goes. Anything else in braces, and ` + "`$${x}`" + ` for the shell's
` + "`${x}`" + `, stays as it is.

## Environment of a consumer

Beside ` + "`env` and `env_file`: `HOME`, `USER`, `LOGNAME`, `SHELL` of its user, `QSUPER_CONSUMER` (of a job `QSUPER_JOB`, `QSUPER_FIRE`), `QSUPER_SLOT`," + `
` + "`QSUPER_RUN_ID`, and `QSUPER_FENCE_TOKEN` with a shared lock" + `. What it inherits otherwise: [security](security.md).
`

func queueLine(h health.Kind) string {
	if h.QueueKeys == nil {
		return "\nHas no queues: it can only be required.\n"
	}
	line := "\n`queue` takes `connection`"
	for _, key := range h.QueueKeys {
		if key != "layout" || len(h.Layouts) > 1 {
			line += ", `" + key + "`"
		}
	}
	if len(h.Layouts) > 1 {
		if !slices.Contains(h.QueueKeys, "layout") {
			line += ", `layout`"
		}
		line += "; layouts: `" + strings.Join(h.Layouts, "`, `") + "` (the first is the default, a preset's own wins)"
	}
	return line + ".\n"
}

// keyTables writes tables of keys.
type keyTables struct {
	strings.Builder
	t        *testing.T
	comments map[string]string
}

func (b *keyTables) section(title, text string, keys []kind.Key) {
	level := "##"
	if strings.HasPrefix(title, "`t") || strings.HasPrefix(title, "`preset") {
		level = "###"
	}
	fmt.Fprintf(b, "\n%s %s\n", level, title)
	if text != "" {
		fmt.Fprintf(b, "\n%s\n", text)
	}
	b.WriteString("\n| key | value | default | |\n|---|---|---|---|\n")
	for _, k := range keys {
		if strings.HasPrefix(k.Path, "tls.") {
			continue // they have a table of their own
		}
		says, ok := b.comments[k.Field]
		if says = inRow(says); !ok || says == "" {
			b.t.Errorf("%s (%s) has no comment that says what it does", k.Field, k.Path)
		}
		name, value := "`"+k.Path+"`", ""
		if k.Required {
			name = "**" + name + "**"
		}
		if k.Default != "" && k.Default != "[]" {
			value = "`" + k.Default + "`"
		}
		fmt.Fprintf(b, "| %s | %s | %s | %s |\n", name, k.Type, value, says)
	}
}

// configComments are the comments of fields by package path, type and name.
func configComments(t *testing.T) map[string]string {
	t.Helper()
	comments := map[string]string{}
	for _, dir := range []string{"config", "health", "health/backends", "lease", "lease/backends", "internal/kind"} {
		files, err := filepath.Glob("../../" + dir + "/*.go")
		if err != nil || len(files) == 0 {
			t.Fatal(files, err)
		}
		for _, name := range files {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			addFieldComments(comments, file, "qsuper/"+dir+".")
		}
	}
	return comments
}

func addFieldComments(comments map[string]string, file *ast.File, prefix string) {
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.TypeSpec)
		if !ok {
			return true
		}
		if s, ok := spec.Type.(*ast.StructType); ok {
			for _, f := range s.Fields.List {
				for _, id := range f.Names {
					comments[prefix+spec.Name.Name+"."+id.Name] = cmp.Or(f.Comment.Text(), f.Doc.Text())
				}
			}
		}
		return true
	})
}
