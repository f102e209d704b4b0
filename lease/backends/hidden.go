package backends

import (
	"context"
	"errors"
	"time"

	"qsuper/health"
	"qsuper/lease"
)

// hidden is a store whose errors show no secret.
type hidden struct {
	lease.Store
	secrets func() []string
}

func hide(s lease.Store, secrets func() []string) lease.Store { return &hidden{s, secrets} }

func (h *hidden) clean(err error) error {
	if err == nil {
		return nil
	}
	return errors.New(health.Redact(h.secrets(), err.Error()))
}

func (h *hidden) Take(ctx context.Context, owner string, ttl time.Duration, asks []lease.Ask) ([]lease.Answer, error) {
	a, err := h.Store.Take(ctx, owner, ttl, asks)
	return a, h.clean(err)
}

func (h *hidden) Renew(ctx context.Context, owner string, ttl time.Duration, held []lease.Held) ([]bool, error) {
	ok, err := h.Store.Renew(ctx, owner, ttl, held)
	return ok, h.clean(err)
}

func (h *hidden) Release(ctx context.Context, owner string, held []lease.Held) error {
	return h.clean(h.Store.Release(ctx, owner, held))
}

func (h *hidden) List(ctx context.Context) ([]lease.Record, error) {
	list, err := h.Store.List(ctx)
	return list, h.clean(err)
}

func (h *hidden) Claim(ctx context.Context, owner string, c lease.Claim) (string, error) {
	by, err := h.Store.Claim(ctx, owner, c)
	return by, h.clean(err)
}
