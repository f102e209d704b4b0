package kind

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"gopkg.in/yaml.v3"
)

func parse(t *testing.T, text string) *Node {
	t.Helper()
	n, problems := Parse("dir/f.yaml", []byte(text), func(name string) (string, bool) {
		v, ok := map[string]string{"SET": "value", "EMPTY": "", "NUMBER": "7"}[name]
		return v, ok
	})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return n
}

func TestFill(t *testing.T) {
	lookup := func(name string) (string, bool) {
		v, ok := map[string]string{"A": "1", "EMPTY": "", "BRACES": "${A}"}[name]
		return v, ok
	}
	for text, want := range map[string]string{
		"plain": "plain", "${A}": "1", "x${A}y${A}z": "x1y1z", "${EMPTY}": "", "${EMPTY:-d}": "d", "${NONE:-}": "", "${NONE:-a b:-c}": "a b:-c",
		"$$": "$", "$${A}": "${A}", "$$$${A}": "$${A}", "$A": "$A", "cost $5": "cost $5", "end $": "end $", "${BRACES}": "${A}", "${NONE:-$A}": "$A",
	} {
		if got, _, problems := fill(text, lookup); got != want || len(problems) > 0 {
			t.Errorf("fill(%q) = %q, %v, want %q", text, got, problems, want)
		}
	}
	for text, want := range map[string]string{
		"${NONE}": "NONE is not set", "${": "does not start", "${}": "does not start", "${A": "does not start", "${1A}": "does not start", "${A-x}": "does not start", "${A:+x}": "does not start",
	} {
		if _, _, problems := fill(text, lookup); len(problems) != 1 || !strings.Contains(problems[0], want) {
			t.Errorf("fill(%q): %v, want %q", text, problems, want)
		}
	}
	if _, from, _ := fill("${A}${NONE:-x}${EMPTY}", lookup); !slices.Equal(from, []string{"A", "EMPTY"}) {
		t.Errorf("filled from %v", from)
	}
}

func TestParseSize(t *testing.T) {
	for text, want := range map[string]int64{
		"0": 0, "1": 1, "4096": 4096, "1K": 1024, "1KB": 1024, "1KiB": 1024, "1kib": 1024, "64MiB": 64 << 20, "64 MB": 64 << 20, "1.5GiB": 3 << 29, "2TiB": 2 << 40, "5B": 5,
	} {
		if got, err := ParseSize(text); got != want || err != nil {
			t.Errorf("ParseSize(%q) = %d, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "K", "-1", "1e9", "1PiB", "1 X", "0x10", "1..5", "NaN", "inf", "9999999TiB", "1MiBMiB", "--1", "1_000"} {
		if got, err := ParseSize(text); err == nil {
			t.Errorf("ParseSize(%q) = %d", text, got)
		}
	}
}

func TestParseDuration(t *testing.T) {
	for text, want := range map[string]time.Duration{"0": 0, "0s": 0, "90s": 90 * time.Second, "1h30m": 90 * time.Minute, "1.5s": 1500 * time.Millisecond, "250us": 250 * time.Microsecond} {
		if got, err := ParseDuration(text); got != want || err != nil {
			t.Errorf("ParseDuration(%q) = %s, %v", text, got, err)
		}
	}
	for text, want := range map[string]string{"5": "needs a unit", "1.5": "needs a unit", "-1s": "negative", "": "empty", "1d": "expected a duration", "99999999h": "longest is 87600h", "9999999999999h": "longest is 87600h", "s": "expected"} {
		if got, err := ParseDuration(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ParseDuration(%q) = %s, %v, want %q", text, got, err, want)
		}
	}
}

func TestDidYouMean(t *testing.T) {
	keys := []string{"instances", "command", "stop", "env", "env_file", "user", "umask"}
	for word, want := range map[string]string{
		"instnaces": "instances", "instance": "instances", "Command": "command", "comand": "command", "stpo": "stop", "en": "env", "envfile": "env_file", "usr": "user",
		"zzz": "", "": "", "a": "", "completely_different": "",
	} {
		if got := Nearest(word, keys); got != want {
			t.Errorf("Nearest(%q) = %q, want %q", word, got, want)
		}
	}
}

type inner struct {
	URL Secret `yaml:"url,required"`
}

type everything struct {
	inner
	Text   string            `yaml:"text" oneof:"a b"`
	Count  int               `yaml:"count" min:"1" max:"5"`
	Small  uint8             `yaml:"small"`
	Ratio  *float64          `yaml:"ratio"`
	On     bool              `yaml:"on"`
	After  Duration          `yaml:"after"`
	Bytes  Size              `yaml:"bytes"`
	List   []int             `yaml:"list" min:"0"`
	Dict   map[string]string `yaml:"dict"`
	Nested struct {
		A string `yaml:"a"`
	} `yaml:"nested"`
	File    Path     `yaml:"file"`
	Special int      `yaml:"special" format:"hex"`
	_       struct{} `yaml:"future" unless:"no"`
	Ignored string
}

func decode(t *testing.T, text string, defaults everything) (everything, Problems) {
	d := Decoder{Formats: map[string]Format{"hex": func(text string) (any, error) {
		var v int
		_, err := fmt.Sscanf(text, "0x%x", &v)
		return v, err
	}}}
	d.Decode(parse(t, text), "top", &defaults)
	d.Problems.Sort()
	return defaults, d.Problems
}

func TestDecode(t *testing.T) {
	got, problems := decode(t, `{url: u, text: b, count: "${NUMBER:-9}", small: 255, ratio: 1.5, on: true, after: 5s, bytes: 1KiB, list: [1, 2],
  dict: {a: 1, b: "${SET}"}, nested: {a: x}, file: g.pem, special: 0x1f, future: no}`, everything{Ignored: "kept", Dict: map[string]string{"old": "x"}})
	if len(problems) != 1 || problems[0].Message != "the value filled in from the environment is not valid here" {
		t.Fatal(problems)
	}
	wd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	ratio := 1.5
	want := everything{inner: inner{NewSecret("u")}, Text: "b", Small: 255, Ratio: &ratio, On: true, After: 5 * time.Second, Bytes: 1024, List: []int{1, 2},
		Dict: map[string]string{"a": "1", "b": "value"}, File: Path(filepath.Join(wd, "dir", "g.pem")), Special: 31, Ignored: "kept"}
	want.Nested.A = "x"
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(everything{})); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"url", "text", "count", "small", "ratio", "on", "after", "bytes", "list", "dict", "nested", "nested.a", "file", "special"}, Keys(everything{})); diff != "" {
		t.Error(diff)
	}
}

func TestDecodeProblems(t *testing.T) {
	_, problems := decode(t, `{text: c, count: 6, small: 256, ratio: inf, on: 1, after: 5, bytes: x, list: [1, -1, x], dict: [], nested: {b: 1}, file: "", special: z, future: yes, utl: 5}`, everything{})
	want := `dir/f.yaml:1:8: top.text: expected one of a, b, got "c"
dir/f.yaml:1:18: top.count: must be at most 5, got "6"
dir/f.yaml:1:28: top.small: number "256" is out of range
dir/f.yaml:1:40: top.ratio: expected a number, got "inf"
dir/f.yaml:1:49: top.on: expected true or false, got "1"
dir/f.yaml:1:59: top.after: duration "5" needs a unit, such as 5s or 5m
dir/f.yaml:1:69: top.bytes: expected a size such as 64MiB, got "x"
dir/f.yaml:1:82: top.list[1]: must be at least 0, got "-1"
dir/f.yaml:1:86: top.list[2]: expected a whole number, got "x"
dir/f.yaml:1:96: top.dict: expected a map, got a list
dir/f.yaml:1:109: top.nested.b: unknown key
dir/f.yaml:1:122: top.file: must not be empty
dir/f.yaml:1:135: top.special: input does not match format
dir/f.yaml:1:138: top.future: not supported yet
dir/f.yaml:1:151: top.utl: unknown key (did you mean "url"?)`
	if diff := cmp.Diff(want, problems.Error()); diff != "" {
		t.Error(diff)
	}
	if problems.Err() == nil || (Problems)(nil).Err() != nil {
		t.Error("Err is wrong")
	}
}

func TestSecretIsNeverShown(t *testing.T) {
	type holder struct {
		Shown  Secret
		hidden Secret
	}
	h := holder{NewSecret("s3cret"), NewSecret("s3cret")}
	asJSON, err := json.Marshal(h)
	if err != nil {
		t.Fatal(err)
	}
	asYAML, err := yaml.Marshal(map[string]any{"a": h.Shown})
	if err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "secret", h.Shown, "holder", h)
	texts := []string{string(asJSON), string(asYAML), log.String(), h.Shown.String()}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t", "%p"} {
		texts = append(texts, fmt.Sprintf(verb, h), fmt.Sprintf(verb, &h), fmt.Sprintf(verb, h.Shown), fmt.Sprintf(verb, []Secret{h.hidden}), fmt.Sprintf(verb, fmt.Errorf("%v", h.Shown)))
	}
	for _, text := range texts {
		if strings.Contains(text, "s3cret") || strings.Contains(strings.ToLower(text), fmt.Sprintf("%x", "s3cret")) {
			t.Errorf("shown: %s", text)
		}
	}
	if h.Shown.Reveal() != "s3cret" || !h.Shown.Equal(h.hidden) || h.Shown.IsZero() || !(Secret{}).IsZero() || (Secret{}).Reveal() != "" {
		t.Error("Reveal, Equal or IsZero is wrong")
	}
}

func TestAliasesAndMergeKeys(t *testing.T) {
	n := parse(t, "a: &a {x: 1, y: 2}\nb: &b {y: 3, z: 4}\nc: {<<: [*a, *b], z: 5}\nd: *a\n")
	var got []string
	for _, e := range n.Get("c").Value.Entries {
		got = append(got, e.Key.Value+"="+e.Value.Value)
	}
	if want := []string{"z=5", "x=1", "y=2"}; !slices.Equal(got, want) {
		t.Errorf("merged %v, want %v", got, want)
	}
	if n.Get("d").Value.Get("y").Value.Value != "2" || n.Get("none") != nil || (*Node)(nil).Get("x") != nil {
		t.Error("Get is wrong")
	}
}

func TestTLS(t *testing.T) {
	dir := t.TempDir()
	cert, key := selfSigned(t, dir)
	var d Decoder
	var c struct {
		TLS   TLS  `yaml:"tls"`
		Other *TLS `yaml:"other"`
	}
	d.Decode(parse(t, fmt.Sprintf("{tls: {ca: %s, cert: %s, key: %s, server_name: broker}}", cert, cert, key)), "c", &c)
	got, err := c.TLS.Config()
	if err != nil || len(d.Problems) > 0 {
		t.Fatal(err, d.Problems)
	}
	if got.ServerName != "broker" || got.RootCAs == nil || len(got.Certificates) != 1 || c.Other != nil {
		t.Errorf("got %+v", got)
	}
	if got, err := (TLS{}).Config(); got != nil || err != nil || (TLS{}).Enabled() {
		t.Errorf("without a section: %v, %v", got, err)
	}
	var empty struct {
		TLS TLS `yaml:"tls"`
	}
	d.Decode(parse(t, "{tls: {}}"), "c", &empty)
	if got, err := empty.TLS.Config(); got == nil || err != nil {
		t.Errorf("tls: {}: %v, %v", got, err)
	}
	for _, bad := range []TLS{{CA: Path(filepath.Join(dir, "none"))}, {CA: Path(key)}, {Cert: Path(cert)}, {Cert: Path(key), Key: Path(key)}} {
		if _, err := bad.Config(); err == nil {
			t.Errorf("%+v is accepted", bad)
		}
	}
}

func selfSigned(t *testing.T, dir string) (certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for file, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: der}, keyFile: {Type: "EC PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return certFile, keyFile
}

func TestRegistry(t *testing.T) {
	var r Registry[int, string]
	add := func(name string, k int) {
		r.Add(name, k, func(d *Decoder, n *Node, path string) string { return name + " at " + path })
	}
	add("b", 2)
	add("a", 1)
	if got := r.Kinds(); !slices.Equal(got, []int{1, 2}) {
		t.Errorf("kinds %v", got)
	}
	if k, ok := r.Lookup("b"); k != 2 || !ok {
		t.Errorf("lookup %v, %v", k, ok)
	}
	if s, err := r.Decode("a", parse(t, "{type: a}"), "x"); s != "a at x" || err != nil {
		t.Errorf("decode %q, %v", s, err)
	}
	_, err := r.Decode("c", parse(t, "{type: c}"), "x")
	if err == nil || err.Error() != `dir/f.yaml:1:8: x.type: unknown type "c" (one of a, b)` {
		t.Errorf("unknown type: %v", err)
	}
	for _, name := range []string{"a", ""} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("registering %q did not panic", name)
				}
			}()
			add(name, 3)
		}()
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"a: b", "&a [*a]", "a: ${X:-y}", "<<: {a: b}", "? [a]\n: b", "\t", "---\n---\n", "a: !!str b", "\xef\xbb\xbfa: 1\r\n", "{", "'", "- - - -", "a: &x {b: *x}"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		n, problems := Parse("f.yaml", data, nil)
		for _, p := range problems {
			if p.File != "f.yaml" || p.Message == "" || strings.ContainsAny(p.String(), "\x00\x1b\n") {
				t.Errorf("problem %q", p.String())
			}
		}
		var d Decoder
		var target struct {
			A everythingPlain `yaml:"a"`
		}
		if n != nil {
			d.Decode(n, "", &target)
		}
	})
}

// everythingPlain is everything without the format that a plain Decoder lacks.
type everythingPlain struct {
	Text string            `yaml:"text"`
	List []int             `yaml:"list"`
	Dict map[string]string `yaml:"dict"`
	Size Size              `yaml:"size"`
	TLS  TLS               `yaml:"tls"`
}
