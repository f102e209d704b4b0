package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"qsuper/internal/kind"

	"qsuper/internal/failpoint"
)

// source is one file as it was read.
type source struct {
	Path string `json:"path"`
	Data []byte `json:"data"`
}

// savedCopy is the text of a configuration: variables of the environment are
// filled in anew when it is loaded, so that it holds no more secrets than the
// files did.
type savedCopy struct {
	Version int       `json:"version"`
	Sources []*source `json:"sources"` // the main file first
}

// SaveCopy writes the text that the configuration was loaded from to path, for
// LoadCopy. The file is readable by its owner only, and a crash leaves the old
// one or the new one.
func (c *Config) SaveCopy(path string) error {
	data, err := json.Marshal(savedCopy{Version: 1, Sources: c.sources})
	if err != nil {
		return err
	}
	if err := ReplaceFile(path, data); err != nil {
		return fmt.Errorf("save a copy of the configuration: %w", err)
	}
	return nil
}

// ReplaceFile writes a file that only its owner may read, so that a crash, even
// of the host, leaves the old one or the new one whole.
func ReplaceFile(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
		failpoint.Hit(failpoint.RenameBeforeSync)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return syncDir(filepath.Dir(path))
}

// syncDir puts a new name on the disk: without it the old file is there again when
// the power is cut in the seconds after.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENOTSUP) {
		err = nil // this file system does not know how
	}
	return errors.Join(err, d.Close())
}

// LoadCopy loads what SaveCopy wrote, whatever has become of the files since.
func LoadCopy(path string, o Options) (*Config, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var c savedCopy
	if err := json.Unmarshal(data, &c); err != nil || c.Version != 1 || len(c.Sources) == 0 {
		return nil, fmt.Errorf("%s is no copy of a configuration", path)
	}
	o.copy = &c
	return Load(c.Sources[0].Path, o)
}

// text is what a file holds, or held when the copy was made.
func (l *loader) text(path string) ([]byte, error) {
	if l.options.copy != nil {
		for _, s := range l.options.copy.Sources {
			if s.Path == path {
				return s.Data, nil
			}
		}
		return nil, errors.New("is not in the copy")
	}
	return readFile(path)
}

// copied lists the included files of a copy.
func (l *loader) copied(at *kind.Node) []included {
	var files []included
	for _, s := range l.options.copy.Sources[1:] {
		files = append(files, included{s.Path, at, "include"})
		l.cfg.Files = append(l.cfg.Files, s.Path)
	}
	return files
}
