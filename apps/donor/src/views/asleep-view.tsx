/** Of a page that the browser has stopped; it is seen for a moment at most. */
export function AsleepView() {
  return (
    <>
      <h1>This tab is asleep</h1>
      <p class="hint">The browser has stopped it, and it lends nothing. It goes on by itself.</p>
    </>
  );
}
