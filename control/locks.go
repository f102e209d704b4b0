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
	Slots      []SharedSlot `json:"slots"`   // that somebody has
	Hosts      []FleetHost  `json:"hosts"`   // whose daemons are there, this one included
	Missing    []FleetHost  `json:"missing"` // that were there within the last day and are not, with what they said last
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
	State     string          `json:"state"`             // here; silent (it should have given a sign); stopped (its daemon was told to)
	Version   string          `json:"version,omitempty"` // of its qsuper; absent: it does not say
	StartedAt time.Time       `json:"started_at"`        // its engine's start
	Since     time.Time       `json:"since,omitzero"`    // it has been there without a break
	HeardAt   time.Time       `json:"heard_at,omitzero"` // its last sign; absent: before this daemon began
	Until     time.Time       `json:"until,omitzero"`    // when it is taken for dead if it says nothing
	Consumers []FleetConsumer `json:"consumers"`
}

// FleetConsumer is how a consumer stands on a host.
type FleetConsumer struct {
	Name    string `json:"name"`
	State   string `json:"state"`
	Slots   int    `json:"slots"` // it has
	Wanted  int    `json:"wanted"`
	Running int    `json:"running"`
	Able    bool   `json:"able"`    // nothing but the lock keeps it from running there
	Healthy bool   `json:"healthy"` // false: something that should be up there is not
	Code    string `json:"code"`
	Reason  string `json:"reason"` // as it was when something else of this changed
}
