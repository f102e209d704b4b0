package logs

import (
	"errors"
	"fmt"
	"path/filepath"
)

// Where the output of a stream goes.
const (
	ToFile   = "file"
	ToStdout = "stdout"
	ToBoth   = "both" // file and stdout
	ToNone   = "none" // read and thrown away, so that the consumer never waits
)

// What stands in front of each line.
const (
	PrefixNone = "none" // the bytes as they came, on stdout too
	PrefixTime = "time" // 2026-11-21T19:40:00.123Z text
	PrefixJSON = "json" // {"time":…,"consumer":…,"slot":…,"line":…}
)

// Options say what becomes of one stream.
type Options struct {
	To   string // ToFile, ToStdout, ToBoth or ToNone
	Path string // absolute; of the current file, older ones are Path.1 (the newest) to Path.<Keep>

	// MaxSize is the size in bytes at which a file is rotated; 0 = never. Files
	// hold whole lines: one may be larger by its last line, by 1 MiB at most.
	MaxSize int64
	// Keep is how many rotated files stay. 0 = none: at MaxSize the current
	// file is emptied, and what it held is gone.
	Keep     int
	Compress bool // rotated files are gzipped, one at a time, with a quarter of one core

	Prefix   string // PrefixNone, PrefixTime or PrefixJSON
	Consumer string // for PrefixJSON
	Slot     int    // for PrefixJSON
}

// check refuses what the pump cannot do.
func (p *Pump) check(o *Options) error {
	switch o.To {
	case ToFile, ToBoth:
		if !filepath.IsAbs(o.Path) {
			return fmt.Errorf("log path %q: must be absolute", o.Path)
		}
	case ToStdout, ToNone:
	default:
		return fmt.Errorf("log target %q: must be file, stdout, both or none", o.To)
	}
	if o.toStdout() && !p.hasStdout {
		return errors.New("log target stdout: there is none, send the output to a file")
	}
	switch o.Prefix {
	case PrefixNone, PrefixTime, PrefixJSON:
	default:
		return fmt.Errorf("log prefix %q: must be none, time or json", o.Prefix)
	}
	if o.MaxSize < 0 || o.Keep < 0 {
		return fmt.Errorf("log size %d, keep %d: must not be negative", o.MaxSize, o.Keep)
	}
	return nil
}

func (o *Options) toFile() bool   { return o.To == ToFile || o.To == ToBoth }
func (o *Options) toStdout() bool { return o.To == ToStdout || o.To == ToBoth }
