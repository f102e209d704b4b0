package kind

import (
	"fmt"
	"io"
	"log/slog"
)

const hidden = "***"

// Secret is text that must never be shown. It prints as *** with every verb of
// fmt, in JSON, YAML and slog.
//
// The text sits behind a pointer because fmt does not call the methods of
// unexported fields: a plain string type would be printed there.
type Secret struct{ text *string }

// NewSecret hides text.
func NewSecret(text string) Secret { return Secret{&text} }

// Reveal returns the text itself; "" when nothing was set.
func (s Secret) Reveal() string {
	if s.text == nil {
		return ""
	}
	return *s.text
}

// IsZero reports whether the text is empty.
func (s Secret) IsZero() bool { return s.Reveal() == "" }

// Equal compares the texts.
func (s Secret) Equal(o Secret) bool { return s.Reveal() == o.Reveal() }

// Format implements fmt.Formatter for every verb.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, hidden) }

// String returns ***.
func (s Secret) String() string { return hidden }

// MarshalText makes JSON and text encoders write ***.
func (s Secret) MarshalText() ([]byte, error) { return []byte(hidden), nil }

// MarshalYAML makes YAML write ***.
func (s Secret) MarshalYAML() (any, error) { return hidden, nil }

// LogValue makes slog write ***.
func (s Secret) LogValue() slog.Value { return slog.StringValue(hidden) }

// UnmarshalNode implements Unmarshaler.
func (s *Secret) UnmarshalNode(d *Decoder, n *Node, path string) {
	var text string
	if d.text(n, path, &text) {
		*s = NewSecret(text)
	}
}
