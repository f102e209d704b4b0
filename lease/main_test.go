package lease_test

import (
	"testing"

	"qsuper/internal/bubble"
)

func TestMain(m *testing.M) { bubble.Main(m) }
