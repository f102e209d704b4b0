// Package magento reads how Magento's cron starts its consumers, and writes them
// as consumers of qsuper.
//
// It looks at app/etc/env.php (cron_consumers_runner, queue, db), or at
// .magento.env.yaml of Adobe Commerce Cloud, and at the queue_consumer.xml files of
// the modules for the names of the consumers and their queues.
package magento

import (
	"context"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"sort"
	"strconv"
	"strings"
	"syscall"
	"time"

	"gopkg.in/yaml.v3"
)

// Shop is what the files say.
type Shop struct {
	Path      string
	Root      string // "" = not known
	Owner     string // of env.php; "" = not known
	PHP       bool   // PHP itself has read env.php
	CronRun   bool
	Max       int64          // messages of one process; 0 = no limit
	Names     []string       // allowed consumers; empty = all
	Multiple  map[string]int // processes of those that have several
	Spawn     bool           // only_spawn_when_message_available
	Wait      bool           // consumers_wait_for_messages
	Given     map[string]bool
	AMQP, DB  map[string]any
	Prefix    string
	Declared  map[string]Declaration // of queue_consumer.xml
	FromYAML  bool
	Providers string // lock/provider
}

// Declaration is one consumer of a queue_consumer.xml.
type Declaration struct {
	Queue, Connection string
	Max               int64 // 0 = not given
	File              string
}

// Options say how to read.
type Options struct {
	Root  string // of Magento; "" = by the place of env.php
	NoPHP bool   // do not let PHP read env.php
}

// Read reads env.php or .magento.env.yaml.
func Read(path string, o Options) (*Shop, error) {
	s := &Shop{Path: path, Root: o.Root, CronRun: true, Max: 10000, Multiple: map[string]int{}, Spawn: true, Wait: true, Given: map[string]bool{}, Declared: map[string]Declaration{}}
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		s.Path = filepath.Join(path, "app", "etc", "env.php")
	}
	data, err := os.ReadFile(s.Path)
	if err != nil {
		return nil, err
	}
	abs, err := filepath.Abs(s.Path)
	if err != nil {
		return nil, err
	}
	if s.Root == "" && strings.HasSuffix(abs, "/app/etc/env.php") {
		s.Root = strings.TrimSuffix(abs, "/app/etc/env.php")
	}
	if isYAML(s.Path, data) {
		err = s.cloud(data)
	} else {
		err = s.env(abs, data, !o.NoPHP)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.Path, err)
	}
	s.Owner = owner(s.Path)
	if s.Root != "" {
		s.declared()
	}
	return s, nil
}

func isYAML(path string, data []byte) bool {
	base := filepath.Base(path)
	if strings.Contains(base, "env.yaml") || strings.HasSuffix(base, ".yml") {
		return true
	}
	return !strings.Contains(base, ".php") && strings.HasPrefix(strings.TrimSpace(string(data)), "stage:")
}

// env reads env.php: by PHP where there is one, since the file may hold any code,
// else as a plain array.
func (s *Shop) env(path string, data []byte, php bool) error {
	var m map[string]any
	if php && strings.Contains(string(data), "<?php") {
		m = byPHP(path)
	}
	s.PHP = m != nil
	if m == nil {
		var err error
		if m, err = plain(string(data)); err != nil {
			return err
		}
	}
	s.runner(at(m, "cron_consumers_runner"))
	queue := at(m, "queue")
	if v, ok := queue["consumers_wait_for_messages"]; ok {
		s.Wait, s.Given["wait"] = truth(v), true
	}
	if v, ok := queue["only_spawn_when_message_available"]; ok {
		s.Spawn, s.Given["spawn"] = truth(v), true
	}
	if amqp := at(queue, "amqp"); amqp["host"] != nil && amqp["host"] != "" {
		s.AMQP = amqp
	}
	db := at(m, "db")
	if conn := at(at(db, "connection"), "default"); conn["host"] != nil {
		s.DB = conn
	}
	s.Prefix, _ = db["table_prefix"].(string)
	s.Providers, _ = at(m, "lock")["provider"].(string)
	return nil
}

// byPHP lets PHP read the file; nil when there is no PHP, or it cannot.
func byPHP(path string) map[string]any {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, "php", "-d", "display_errors=stderr", "-r", `echo json_encode(include $argv[1], JSON_FORCE_OBJECT);`, path).Output()
	if err != nil {
		return nil
	}
	d := json.NewDecoder(strings.NewReader(string(out)))
	d.UseNumber()
	var m map[string]any
	if d.Decode(&m) != nil || len(m) == 0 {
		return nil
	}
	return m
}

// at returns an array within an array; an empty one when it is none.
func at(m map[string]any, key string) map[string]any {
	sub, _ := m[key].(map[string]any)
	return sub
}

func truth(v any) bool {
	switch v := v.(type) {
	case bool:
		return v
	case nil:
		return false
	}
	text := fmt.Sprint(v)
	return text != "" && text != "0" && text != "false"
}

func number(v any) (int64, bool) {
	if v == nil {
		return 0, false
	}
	n, err := strconv.ParseInt(strings.TrimSpace(fmt.Sprint(v)), 10, 64)
	return n, err == nil
}

// runner reads cron_consumers_runner.
func (s *Shop) runner(m map[string]any) {
	if v, ok := m["cron_run"]; ok {
		s.CronRun, s.Given["cron_run"] = truth(v), true
	}
	if n, ok := number(m["max_messages"]); ok {
		s.Max, s.Given["max_messages"] = max(n, 0), true
	}
	names := at(m, "consumers")
	keys := make([]string, 0, len(names))
	for k := range names {
		keys = append(keys, k)
	}
	sort.Slice(keys, func(i, j int) bool {
		a, _ := strconv.Atoi(keys[i])
		b, _ := strconv.Atoi(keys[j])
		return a < b
	})
	for _, k := range keys {
		if name := strings.TrimSpace(fmt.Sprint(names[k])); name != "" && !slices.Contains(s.Names, name) {
			s.Names = append(s.Names, name)
		}
	}
	for name, v := range at(m, "multiple_processes") {
		if n, ok := number(v); ok && n > 0 {
			s.Multiple[name] = int(min(n, 10000))
		}
	}
}

// cloud reads .magento.env.yaml: what deploy says over what global says.
func (s *Shop) cloud(data []byte) error {
	s.FromYAML = true
	var file struct {
		Stage map[string]map[string]any `yaml:"stage"`
	}
	if err := yaml.Unmarshal(data, &file); err != nil {
		return err
	}
	for _, stage := range []string{"global", "deploy"} {
		m := file.Stage[stage]
		if runner, ok := m["CRON_CONSUMERS_RUNNER"].(map[string]any); ok {
			s.runner(mapped(runner))
		}
		if v, ok := m["CONSUMERS_WAIT_FOR_MAX_MESSAGES"]; ok {
			s.Wait, s.Given["wait"] = truth(v), true
		}
		if queue, ok := m["QUEUE_CONFIGURATION"].(map[string]any); ok {
			if amqp := at(mapped(queue), "amqp"); amqp["host"] != nil {
				s.AMQP = amqp
			}
		}
	}
	return nil
}

// mapped turns lists of YAML into arrays as PHP has them.
func mapped(m map[string]any) map[string]any {
	out := map[string]any{}
	for k, v := range m {
		switch v := v.(type) {
		case []any:
			list := map[string]any{}
			for i, item := range v {
				list[strconv.Itoa(i)] = item
			}
			out[k] = list
		case map[string]any:
			out[k] = mapped(v)
		default:
			out[k] = v
		}
	}
	return out
}

// declared reads the modules' queue_consumer.xml.
func (s *Shop) declared() {
	var files []string
	for _, pattern := range []string{"vendor/*/*/etc/queue_consumer.xml", "app/code/*/*/etc/queue_consumer.xml"} {
		found, err := filepath.Glob(filepath.Join(s.Root, pattern))
		if err == nil {
			files = append(files, found...)
		}
	}
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			continue
		}
		var doc struct {
			Consumers []struct {
				Name       string `xml:"name,attr"`
				Queue      string `xml:"queue,attr"`
				Connection string `xml:"connection,attr"`
				Max        int64  `xml:"maxMessages,attr"`
			} `xml:"consumer"`
		}
		if xml.Unmarshal(data, &doc) != nil {
			continue
		}
		for _, c := range doc.Consumers {
			d := s.Declared[c.Name]
			d.File = f
			if c.Queue != "" {
				d.Queue = c.Queue
			}
			if c.Connection != "" {
				d.Connection = c.Connection
			}
			if c.Max > 0 {
				d.Max = c.Max
			}
			s.Declared[c.Name] = d
		}
	}
}

// owner is the name of who owns a file.
func owner(path string) string {
	info, err := os.Stat(path)
	if err != nil {
		return ""
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return ""
	}
	who, err := user.LookupId(strconv.FormatUint(uint64(st.Uid), 10))
	if err != nil {
		return ""
	}
	return who.Username
}
