package main

import (
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"qsuper/config"
	"qsuper/migrate"
)

// pages are the documents that people follow.
func pages(t *testing.T) map[string]string {
	t.Helper()
	files, err := filepath.Glob("../../docs/*.md")
	if err != nil || len(files) < 10 {
		t.Fatal(files, err)
	}
	text := map[string]string{}
	for _, name := range append(files, "../../README.md") {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		text[filepath.Base(name)] = string(data)
	}
	return text
}

var fence = regexp.MustCompile("(?ms)^```([a-z]*)\n(.*?)^```")

// blocks are the fenced parts of a page in a language.
func blocks(page, language string) []string {
	var found []string
	for _, m := range fence.FindAllStringSubmatch(page, -1) {
		if m[1] == language {
			found = append(found, m[2])
		}
	}
	return found
}

// What a part of a file needs around it to be a whole one.
const (
	rest      = "\nconnections: {db: {type: mysql, dsn: \"u@tcp(db)/d\"}, cache: {type: redis, url: \"redis://cache\"}}\n"
	fleetLock = "\nlocks: {fleet: {type: mysql, connection: db}}\n"
)

var topLevelKey = regexp.MustCompile(`(?m)^([a-z_]+):`)

// whole makes a file of an example: one that shows a part gets the rest; one that
// shows keys of a consumer becomes as many consumers as it has lines.
func whole(example string) string {
	keys := map[string]bool{}
	for _, m := range topLevelKey.FindAllStringSubmatch(example, -1) {
		keys[m[1]] = true
	}
	sections := slices.ContainsFunc([]string{"daemon", "defaults", "connections", "consumers", "jobs", "alerts", "locks"}, func(k string) bool { return keys[k] })
	if !sections {
		file := "consumers:\n"
		for i, line := range strings.Split(strings.TrimSpace(example), "\n") {
			file += "  x" + string(rune('a'+i)) + ":\n    command: [x]\n    queue: {connection: db}\n    " + line + "\n"
		}
		return file + rest
	}
	if !keys["connections"] {
		example += rest
	}
	if !keys["locks"] && strings.Contains(example, "lock: fleet") {
		example += fleetLock
	}
	if !keys["consumers"] && !keys["jobs"] {
		example += "\nconsumers: {x: {command: [x]}}\n"
	}
	return example
}

// TestExamplesInDocs: the strict parser takes every example of a file in the pages.
func TestExamplesInDocs(t *testing.T) {
	o := config.Options{LookupEnv: func(string) (string, bool) { return "x", true }, EUID: func() int { return 0 }}
	count := 0
	for page, text := range pages(t) {
		for i, example := range blocks(text, "yaml") {
			if strings.HasPrefix(example, "apiVersion:") {
				continue // of Kubernetes
			}
			count++
			file := filepath.Join(t.TempDir(), "qsuper.yaml")
			if err := os.WriteFile(file, []byte(whole(example)), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := config.Load(file, o); err != nil {
				t.Errorf("%s, example %d: %v\n%s", page, i+1, err, whole(example))
			}
		}
	}
	if count < 20 {
		t.Errorf("only %d examples were found", count)
	}
}

var (
	inline     = regexp.MustCompile("`((?:sudo |bin/)?qsuper [^`]+)`")
	comment    = regexp.MustCompile(`(?m)(^|\s)#.*$`)
	separator  = regexp.MustCompile(`&&|\|\||[|;()\n]`)
	redirected = regexp.MustCompile(`\s[0-9]?>.*`)
)

// commandLines are the calls of qsuper in a page, as words behind its name.
func commandLines(page string) [][]string {
	text := strings.Join(append(blocks(page, "sh"), blocks(page, "bash")...), "\n")
	for _, m := range inline.FindAllStringSubmatch(fence.ReplaceAllString(page, ""), -1) {
		text += "\n" + m[1]
	}
	var lines [][]string
	for _, call := range separator.Split(comment.ReplaceAllString(text, ""), -1) {
		words, err := migrate.Words(redirected.ReplaceAllString(call, ""))
		at := slices.IndexFunc(words, func(w string) bool { return filepath.Base(w) == "qsuper" })
		if err != nil || at < 0 || at > 0 && words[0] != "sudo" && words[0] != "docker" && words[0] != "*" /* of cron */ {
			continue
		}
		lines = append(lines, words[at+1:])
	}
	return lines
}

// TestCommandsInDocs: every command line in the pages is one that qsuper knows.
func TestCommandsInDocs(t *testing.T) {
	count := 0
	texts := pages(t)
	var examples func(c *cobra.Command)
	examples = func(c *cobra.Command) {
		texts["help of "+c.CommandPath()] = "```sh\n" + c.Example + "\n```\n"
		for _, sub := range c.Commands() {
			examples(sub)
		}
	}
	examples(newRootCmd(newApp(io.Discard, io.Discard, os.Getenv)))
	for page, text := range texts {
		for _, words := range commandLines(text) {
			count++
			root := newRootCmd(newApp(io.Discard, io.Discard, os.Getenv))
			if words = slices.DeleteFunc(words, func(w string) bool { return w == "--help" }); slices.Equal(words, []string{"help"}) {
				continue
			}
			cmd, args, err := root.Find(words)
			if err == nil && cmd == root && len(words) > 0 && !strings.HasPrefix(words[0], "-") {
				err = knownCommand(root, words)
			}
			if err == nil {
				err = cmd.ParseFlags(args)
			}
			// Some lines name a command without its arguments, to speak of it.
			if given := cmd.Flags().Args(); err == nil && len(given) > 0 {
				err = cmd.ValidateArgs(given)
			}
			if err != nil {
				t.Errorf("%s: qsuper %s: %v", page, strings.Join(words, " "), err)
			}
		}
	}
	if count < 50 {
		t.Errorf("only %d command lines were found", count)
	}
}

// TestLinksInDocs: every link to a file and to a heading in it leads somewhere.
func TestLinksInDocs(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#\s]*)(#[^)\s]*)?\)`)
	heading := regexp.MustCompile(`(?m)^#+ (.*)$`)
	notInAnchor := regexp.MustCompile("[^a-z0-9 _-]")
	texts := pages(t)
	for page, text := range texts {
		dir := "../../docs"
		if page == "README.md" {
			dir = "../.."
		}
		for _, m := range link.FindAllStringSubmatch(fence.ReplaceAllString(text, ""), -1) {
			target := filepath.Join(dir, m[1])
			if m[1] == "" {
				target = filepath.Join(dir, page)
			}
			if strings.Contains(m[1], "://") {
				continue
			}
			data, err := os.ReadFile(target)
			if err != nil {
				t.Errorf("%s: %v", page, err)
			}
			found := m[2] == ""
			for _, h := range heading.FindAllStringSubmatch(string(data), -1) {
				anchor := strings.ReplaceAll(notInAnchor.ReplaceAllString(strings.ToLower(h[1]), ""), " ", "-")
				found = found || "#"+anchor == m[2]
			}
			if !found {
				t.Errorf("%s: %s has no heading for %s", page, m[1], m[2])
			}
		}
	}
}
