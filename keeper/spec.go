package keeper

import (
	"slices"

	"qsuper/proc"
)

// Equal says whether two specifications start the same process the same way.
func (s *Spec) Equal(o *Spec) bool {
	return s.Path == o.Path && s.Dir == o.Dir && s.Lock == o.Lock && s.FIFO == o.FIFO && s.Tag == o.Tag && s.Log == o.Log &&
		slices.Equal(s.Argv, o.Argv) && sameStrings(s.Env, o.Env) && slices.Equal(s.Own, o.Own) &&
		s.Cred.equal(o.Cred) &&
		same(s.Umask, o.Umask) && same(s.NoFile, o.NoFile) && same(s.Nice, o.Nice) && s.NoNew == o.NoNew && s.Limits == o.Limits &&
		s.Stop.equal(&o.Stop)
}

func (s *Stop) equal(o *Stop) bool {
	return s.Signal == o.Signal && s.Scope == o.Scope && s.Grace == o.Grace && s.Hold == o.Hold && s.Why == o.Why && slices.Equal(s.Command, o.Command)
}

func (c *Cred) equal(o *Cred) bool {
	if c == nil || o == nil {
		return c == o
	}
	return c.UID == o.UID && c.GID == o.GID && slices.Equal(c.Groups, o.Groups)
}

// sameStrings is slices.Equal, at once for a slice that is shared.
func sameStrings(a, b []string) bool {
	return sharedStrings(a, b) || slices.Equal(a, b)
}

// sharedStrings says whether a and b are one slice.
func sharedStrings(a, b []string) bool {
	return len(a) == len(b) && len(a) > 0 && &a[0] == &b[0]
}

func same[T comparable](a, b *T) bool {
	if a == nil || b == nil {
		return a == b
	}
	return *a == *b
}

// own says what s has to itself; nil where it differs from prev in more than that.
func (s *Spec) own(prev *Spec) *own {
	if prev == nil {
		return nil
	}
	o := &own{Argv: s.Argv, Env: s.Own, Dir: s.Dir, Lock: s.Lock, FIFO: s.FIFO, Path: s.Log.Path, Slot: s.Log.Slot}
	if !o.spec(prev).Equal(s) {
		return nil
	}
	return o
}

// spec is prev with what is o's own.
func (o *own) spec(prev *Spec) *Spec {
	s := *prev
	s.Argv, s.Own, s.Dir, s.Lock, s.FIFO = o.Argv, o.Env, o.Dir, o.Lock, o.FIFO
	s.Log.Path, s.Log.Slot = o.Path, o.Slot
	shareString(&s.Dir, prev.Dir)
	if slices.Equal(s.Argv, prev.Argv) {
		s.Argv = prev.Argv
	}
	return &s
}

// share makes s use the strings of the specification that came before it where
// they are the same: a thousand slots differ in two variables and a path.
func (s *Spec) share(prev *Spec) {
	if prev == nil {
		return
	}
	shareString(&s.Path, prev.Path)
	shareString(&s.Dir, prev.Dir)
	if slices.Equal(s.Argv, prev.Argv) {
		s.Argv = prev.Argv
	}
	if sameStrings(s.Env, prev.Env) {
		s.Env = prev.Env
	}
	if s.Stop.equal(&prev.Stop) {
		s.Stop = prev.Stop
	}
	if s.Cred.equal(prev.Cred) {
		s.Cred = prev.Cred
	}
}

func shareString(s *string, prev string) {
	if *s == prev {
		*s = prev
	}
}

// process is the part of a specification that package proc needs. The caller
// adds descriptors.
func (s *Spec) process() proc.Spec {
	p := proc.Spec{
		Path: s.Path, Argv: s.Argv, Env: s.Env, Dir: s.Dir,
		Umask: s.Umask, NoFile: s.NoFile, Nice: s.Nice, NoNewPrivs: s.NoNew,
	}
	if s.Cred != nil {
		p.Cred = &proc.Cred{UID: s.Cred.UID, GID: s.Cred.GID, Groups: s.Cred.Groups}
	}
	return p
}
