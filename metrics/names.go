package metrics

import "github.com/prometheus/client_golang/prometheus"

// The closed lists that labels are taken from, as in the reference.
var (
	states      = []string{"running", "waiting", "backoff", "stopping", "stopped", "held"}
	allPhases   = []string{"waiting", "checking", "spawning", "running", "draining", "killing", "halted"}
	presences   = []string{"here", "silent", "stopped"}
	queueStates = []string{"ok", "missing", "unknown"}
)

// all is every series there is, in the order of declaration.
var all []*prometheus.Desc

func desc(name, help string, labels ...string) *prometheus.Desc {
	d := prometheus.NewDesc("qsuper_"+name, help, labels, nil)
	all = append(all, d)
	return d
}

// The series. Counters begin at zero with each engine.
var (
	info          = desc("info", "Always 1; which version runs under which name.", "version", "name")
	started       = desc("start_time_seconds", "When the keeper started, Unix time.")
	configLoaded  = desc("config_loaded_time_seconds", "When the file in force was loaded, Unix time.")
	configRefused = desc("config_refused", "1 while a newer file has been refused.")
	stopping      = desc("stopping", "1 while everything is being stopped.")

	healthy    = desc("consumer_healthy", "0 while something that should be up is not.", "consumer")
	stateSet   = desc("consumer_state", "1 for the state that the consumer is in.", "consumer", "state")
	reason     = desc("consumer_reason", "1 for the reason code that explains the state.", "consumer", "code")
	wanted     = desc("consumer_wanted_instances", "How many instances should run.", "consumer")
	slots      = desc("consumer_slots", "How many instances may run.", "consumer")
	instances  = desc("consumer_instances", "Instances by phase of their slot.", "consumer", "phase")
	resident   = desc("consumer_resident_memory_bytes", "Resident memory of all instances with their children.", "consumer")
	starts     = desc("consumer_starts_total", "Processes started.", "consumer")
	exits      = desc("consumer_exits_total", "Processes ended, by class of their exit.", "consumer", "class")
	stops      = desc("consumer_stops_total", "Processes ended within a stop, by the step that ended them.", "consumer", "step")
	logBytes   = desc("consumer_log_bytes_total", "Output of all instances, since the keeper started. Absent when unknown.", "consumer")
	logDropped = desc("consumer_log_dropped_bytes_total", "Output that could not be written and is missing in the log.", "consumer")
	logTrouble = desc("consumer_log_trouble", "1 while output cannot be written.", "consumer")

	queueState     = desc("queue_state", "1 for the state of the last reading.", "consumer", "connection", "queue", "state")
	ready          = desc("queue_ready_messages", "Messages that wait. Absent when unknown.", "consumer", "connection", "queue")
	inFlight       = desc("queue_in_flight_messages", "Messages handed out and not acknowledged. Absent when unknown.", "consumer", "connection", "queue")
	delayed        = desc("queue_delayed_messages", "Messages that are due later. Absent when unknown.", "consumer", "connection", "queue")
	queueConsumers = desc("queue_consumers", "Consumers that the broker sees. Absent when unknown.", "consumer", "connection", "queue")
	oldest         = desc("queue_oldest_seconds", "Age of the oldest message that waits. Absent when unknown.", "consumer", "connection", "queue")

	leaseMargin = desc("consumer_lease_margin_seconds", "How long until exclusive instances are asked to end if their leases are not renewed. Absent without any.", "consumer")

	lockUp    = desc("lock_up", "1 when the store of shared slots answered the last time.", "lock", "type")
	lockHosts = desc("lock_hosts", "Hosts that share the slots, by whether they are there.", "lock", "state")
	lockHeld  = desc("lock_held_slots", "Shared slots that this host has.", "lock")

	jobHealthy = desc("job_healthy", "0 while a fire is due and something keeps it from starting.", "job")
	jobRunning = desc("job_running", "1 while a run is under way.", "job")
	jobLate    = desc("job_late_seconds", "How long the oldest fire that is due has not been started; 0 when none is.", "job")
	jobDelay   = desc("job_start_delay_seconds", "How long after its moment the last fire that has ended was started, jitter included.", "job")
	jobNext    = desc("job_next_time_seconds", "The next fire, Unix time.", "job")
	jobLast    = desc("job_last_time_seconds", "The fire of the last run that has ended, Unix time.", "job")
	jobSeconds = desc("job_last_duration_seconds", "How long the last run took.", "job")
	jobFailed  = desc("job_last_failed", "1 when the last run failed, retries included.", "job")
	jobSkipped = desc("job_skipped_total", "Fires that were not started.", "job")

	up            = desc("connection_up", "1 when the connection answered the last look.", "connection", "type")
	latency       = desc("connection_probe_seconds", "How long the last look took.", "connection", "type")
	probes        = desc("connection_probes_total", "Looks at the connection.", "connection", "type")
	probeFailures = desc("connection_probe_failures_total", "Looks that got no answer.", "connection", "type")
	probeSeconds  = desc("connection_probe_seconds_total", "What all looks took together.", "connection", "type")
)
