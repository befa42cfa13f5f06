// All that a site learns: idle, joining, lending, paused, reconnecting, leaving, ended or problem.
const output = document.getElementById('state');
const states = [];
document.addEventListener('shoal-state', ({ detail }) => {
  states.push(detail.state);
  output.value = states.join(' → ');
});
