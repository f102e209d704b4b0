package control

import "time"

// LockStatus is one store of shared slots, as this host sees it.
type LockStatus struct {
	Name       string       `json:"name"`
	Type       string       `json:"type"`
	State      string       `json:"state"` // up down unknown
	Error      string       `json:"error"`
	Host       string       `json:"host"` // this one
	TTLSeconds float64      `json:"ttl_seconds"`
	Slots      []SharedSlot `json:"slots"` // that somebody has
	Hosts      []FleetHost  `json:"hosts"` // whose daemons are there, this one included
}

// SharedSlot is a slot and the host that has it.
type SharedSlot struct {
	Slot  string    `json:"slot"` // orders/0
	Host  string    `json:"host"`
	Here  bool      `json:"here"`
	Token uint64    `json:"token"`
	Since time.Time `json:"since,omitzero"`
	Until time.Time `json:"until"` // when it is free if it is not renewed
}

// FleetHost is what a host says of itself.
type FleetHost struct {
	Host      string          `json:"host"`
	Here      bool            `json:"here"`
	StartedAt time.Time       `json:"started_at"` // its engine's start
	Until     time.Time       `json:"until"`      // when it is taken for dead if it says nothing
	Consumers []FleetConsumer `json:"consumers"`
}

// FleetConsumer is how a consumer stands on a host.
type FleetConsumer struct {
	Name    string `json:"name"`
	State   string `json:"state"`
	Slots   int    `json:"slots"` // it has
	Running int    `json:"running"`
	Able    bool   `json:"able"` // nothing but the lock keeps it from running there
}
