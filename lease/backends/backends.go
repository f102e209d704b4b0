// Package backends holds one file per type of lock store. Each registers its type
// with the keys, defaults and checks of its section.
package backends

import (
	"errors"

	"qsuper/internal/pattern"
)

// tableName is what may stand for a table, with its schema.
var tableName = pattern.Lazy(`^[A-Za-z_][A-Za-z0-9_]{0,62}(\.[A-Za-z_][A-Za-z0-9_]{0,62})?$`)

func validTable(name string) error {
	if !tableName().MatchString(name) {
		return errors.New("table must be a plain name, or schema.name")
	}
	return nil
}
