package config

import (
	"os"
	"path/filepath"
	"testing"
)

// A copy in force that is damaged is refused, and the engine reads the file.
func FuzzLoadCopy(f *testing.F) {
	f.Add([]byte(`{"version":1,"sources":[{"path":"/etc/qsuper/qsuper.yaml","data":"dmVyc2lvbjogMQpjb25zdW1lcnM6IHt9Cg=="}]}`))
	f.Add([]byte(`{"version":1,"sources":[{"path":""}]}`))
	f.Add([]byte(`{`))
	f.Fuzz(func(t *testing.T, text []byte) {
		path := filepath.Join(t.TempDir(), "copy.json")
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		if cfg, err := LoadCopy(path, Options{}); (cfg == nil) == (err == nil) {
			t.Errorf("%v, %v", cfg, err)
		}
	})
}
