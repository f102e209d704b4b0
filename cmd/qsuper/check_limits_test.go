package main

import (
	"strings"
	"testing"

	"qsuper/config"
)

func TestLimitsThatAreMissed(t *testing.T) {
	cfg := &config.Config{Consumers: []*config.Consumer{
		{Name: "plain", Limits: config.Limits{}},
		{Name: "some", Limits: config.Limits{PIDsMax: 5, MemoryMax: 1 << 20}, Places: map[string]config.Position{"limits": {File: "f", Line: 7}}},
		{Name: "all", Limits: config.Limits{PIDsMax: 5, MemoryMax: 1 << 20, CPUWeight: 50}},
	}}
	if w := limitsMissed(cfg, []string{"cpu", "memory", "pids", "io"}, "no"); len(w) > 0 {
		t.Errorf("%v", w)
	}
	w := limitsMissed(cfg, []string{"pids"}, "because")
	if len(w) != 2 || w[0].Line != 7 || w[0].Path != "consumers.some.limits" || !strings.HasPrefix(w[0].Message, "memory_max cannot") || !strings.HasPrefix(w[1].Message, "memory_max, cpu_weight cannot") {
		t.Errorf("%v", w)
	}
}
