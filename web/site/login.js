// Says so when the token was wrong: the daemon comes back with ?wrong.
if (location.search === "?wrong") document.getElementById("wrong").hidden = false;
