package faults

var brokerFaults, fileFaults, keeperFaults []fault
