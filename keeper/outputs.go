package keeper

import (
	"maps"
	"strings"
)

// Outputs says how many bytes the processes of each consumer and job have printed
// since this keeper started.
type Outputs struct {
	Bytes map[string]uint64 `json:"bytes"` // by the name of the consumer or job
}

// outputs adds what the streams of today have taken to what is left of those that
// are gone.
func (k *keeper) outputs() Outputs {
	o := Outputs{maps.Clone(k.taken)}
	for _, s := range k.slots {
		if s.stream != nil {
			o.Bytes[s.consumer()] += s.stream.Stats().Bytes
		}
	}
	return o
}

// consumer is the part of the slot's name that it shares with its neighbours.
func (s *slot) consumer() string { return s.name[:max(0, strings.LastIndexByte(s.name, '/'))] }
