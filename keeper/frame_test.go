package keeper

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func FuzzFrames(f *testing.F) {
	hello, err := appendFrame(nil, frameHello, Hello{Version: Version})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(hello)
	f.Add([]byte{0, 0, 0, 1, 70})
	f.Add([]byte{255, 255, 255, 255, 255})
	f.Fuzz(func(t *testing.T, b []byte) {
		for {
			typ, body, rest, ok, err := nextFrame(b)
			if err != nil || !ok {
				if !bytes.Equal(rest, b) {
					t.Error("an incomplete frame was eaten")
				}
				return
			}
			if len(rest) >= len(b) || len(body)+frameHead+len(rest) != len(b) {
				t.Errorf("%d bytes became %d and %d", len(b), len(body), len(rest))
			}
			if m, err := message(typ, body); err == nil && m == nil {
				t.Error("neither a message nor an error")
			}
			b = rest
		}
	})
}

func TestOversizeIsNotSent(t *testing.T) {
	before := []byte("before")
	b, err := appendFrame(before, frameStart, start{Slot: strings.Repeat("x", MaxFrame)})
	if err == nil || string(b) != "before" {
		t.Errorf("%d bytes, %v", len(b), err)
	}
}

// equal must look at every field: one that it forgets would not reach the keeper
// when it changes.
func TestSpecEqualSeesEveryField(t *testing.T) {
	var change func(v reflect.Value) bool
	change = func(v reflect.Value) bool {
		switch v.Kind() {
		case reflect.String:
			v.SetString(v.String() + "x")
		case reflect.Bool:
			v.SetBool(!v.Bool())
		case reflect.Int, reflect.Int64:
			v.SetInt(v.Int() + 1)
		case reflect.Uint32, reflect.Uint64:
			v.SetUint(v.Uint() + 1)
		case reflect.Slice:
			v.Set(reflect.Append(v, reflect.Zero(v.Type().Elem())))
		case reflect.Pointer:
			v.Set(reflect.New(v.Type().Elem()))
		default:
			return false
		}
		return true
	}
	var each func(v reflect.Value, path string, check func(string))
	each = func(v reflect.Value, path string, check func(string)) {
		for i := range v.NumField() {
			f, name := v.Field(i), path+"."+v.Type().Field(i).Name
			if f.Kind() == reflect.Struct {
				each(f, name, check)
				continue
			}
			old := reflect.New(f.Type()).Elem()
			old.Set(f)
			if !change(f) {
				t.Fatalf("%s: a kind that this test does not know", name)
			}
			check(name)
			f.Set(old)
		}
	}
	a, b := Spec{}, Spec{}
	each(reflect.ValueOf(&a).Elem(), "Spec", func(name string) {
		if a.Equal(&b) || b.Equal(&a) {
			t.Errorf("%s does not count", name)
		}
	})
	if !a.Equal(&b) {
		t.Error("two empty ones differ")
	}
	c, d := Cred{}, Cred{}
	each(reflect.ValueOf(&c).Elem(), "Cred", func(name string) {
		if c.equal(&d) {
			t.Errorf("%s does not count", name)
		}
	})
}

func TestSharedSpecIsTheSame(t *testing.T) {
	one := Spec{Path: "/p", Argv: []string{"a", "b"}, Env: []string{"X=1"}, Own: []string{"S=0"}, Dir: "/d", Cred: &Cred{UID: 1}}
	for _, two := range []Spec{one, {Path: "/q", Argv: []string{"a"}, Own: []string{"S=1"}}, {}} {
		shared := two
		shared.share(&one)
		if d := cmp.Diff(two, shared); d != "" {
			t.Error(d)
		}
		shared.share(nil)
	}
}

// A keeper that does not read does not hold up whoever asks it for something.
func TestClientDoesNotWait(t *testing.T) {
	ours, theirs := net.Pipe() // without any buffer
	defer theirs.Close()
	greeted := make(chan *Client)
	go func() {
		c, _, err := Connect(ours)
		if err != nil {
			t.Error(err)
		}
		greeted <- c
	}()
	buf := make([]byte, 4096)
	if _, err := theirs.Read(buf); err != nil {
		t.Fatal(err)
	}
	hello, err := appendFrame(nil, frameHello, Hello{Version: Version})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := theirs.Write(hello); err != nil {
		t.Fatal(err)
	}
	c := <-greeted
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx, func(any) {}) }()
	asked := make(chan struct{})
	go func() {
		defer close(asked)
		for run := range uint64(1000) {
			if err := c.Ack(AckRequest{Slot: "orders/0", Run: run}); err != nil {
				t.Error(err)
				return
			}
		}
	}()
	select {
	case <-asked:
	case <-time.After(patience):
		t.Fatal("requests wait for the keeper")
	}
	// And they arrive whole and in order.
	var in []byte
	for run := uint64(0); run < 1000; {
		n, err := theirs.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		in = append(in, buf[:n]...)
		for {
			typ, body, rest, ok, err := nextFrame(in)
			if err != nil {
				t.Fatal(err)
			}
			if !ok {
				break
			}
			r, err := decode[AckRequest](body)
			if err != nil || typ != frameAck || r.Run != run {
				t.Fatalf("frame %d: type %d, %+v, %v", run, typ, r, err)
			}
			in, run = rest, run+1
		}
	}
	if err := c.Ack(AckRequest{Memo: make([]byte, MaxMemo+1)}); err == nil {
		t.Error("a long memo was taken")
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if err := c.List(); !errors.Is(err, ErrGone) {
		t.Error(err)
	}
}

func TestClientRefusesStrangers(t *testing.T) {
	old, err := appendFrame(nil, frameHello, Hello{Version: Version + 1})
	if err != nil {
		t.Fatal(err)
	}
	for name, answer := range map[string][]byte{
		"another version": old,
		"no hello":        {0, 0, 0, 3, 66, '{', '}'},
		"garbage":         []byte("HTTP/1.1 400"),
		"nothing":         nil,
	} {
		ours, theirs := net.Pipe()
		go func() {
			_, _ = theirs.Read(make([]byte, 4096))
			_, _ = theirs.Write(answer)
			theirs.Close()
		}()
		if _, _, err := Connect(ours); err == nil {
			t.Errorf("%s: connected", name)
		}
	}
}

func TestRunsOfAStop(t *testing.T) {
	lines := appendRun(appendRun(nil, "orders/0", 1), "a b/12", 1<<63)
	var got []string
	s := stops{Runs: string(lines)}
	if err := s.each(func(slot string, run uint64) { got = append(got, fmt.Sprint(slot, "=", run)) }); err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(got) != "[orders/0=1 a b/12=9223372036854775808]" {
		t.Error(got)
	}
	for _, bad := range []string{"\n", "orders/0\n", "orders/0 -1\n", "orders/0 x", "7\n"} {
		s := stops{Runs: bad}
		if err := s.each(func(string, uint64) {}); !errors.Is(err, errFrame) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
