(() => {
  // Both directions of the piecewise linear map between seconds and the share of the width.
  const between = (places, from, to, x) => {
    let i = 1;
    while (i < places.length - 1 && places[i][from] < x) i++;
    const [a, b] = [places[i - 1], places[i]];
    const share = (x - a[from]) / Math.max(b[from] - a[from], 1e-9);
    return a[to] + Math.min(Math.max(share, 0), 1) * (b[to] - a[to]);
  };
  for (const figure of document.querySelectorAll(".pianolstm-player:not([data-ready])")) {
    const sound = figure.querySelector("audio");
    const roll = figure.querySelector(".roll");
    const cursor = figure.querySelector(".cursor");
    const places = JSON.parse(figure.dataset.places);
    const bar = Number(figure.dataset.bar);
    figure.dataset.ready = "yes";
    if (!sound) continue;
    const show = () => {
      cursor.style.visibility = "visible";
      cursor.style.left = 100 * between(places, 0, 1, sound.currentTime) + "%";
    };
    const tell = () => { // for screen readers, not sixty times a second
      roll.setAttribute("aria-valuenow", sound.currentTime.toFixed(0));
      roll.setAttribute("aria-valuetext", sound.currentTime.toFixed(0) + " seconds");
    };
    const follow = () => {
      show();
      if (!sound.paused) requestAnimationFrame(follow);
    };
    const last = Number(roll.getAttribute("aria-valuemax"));
    const jump = (seconds) => {
      sound.currentTime = Math.min(Math.max(seconds, 0), last);
      show();
    };
    sound.addEventListener("play", () => {
      for (const other of document.querySelectorAll(".pianolstm-player audio"))
        if (other !== sound) other.pause();
      follow();
    });
    for (const moment of ["seeked", "timeupdate"])
      sound.addEventListener(moment, () => { show(); tell(); });
    roll.addEventListener("click", (event) => {
      const box = roll.getBoundingClientRect();
      jump(between(places, 1, 0, (event.clientX - box.left) / box.width));
    });
    roll.addEventListener("keydown", (event) => {
      if (event.shiftKey || event.ctrlKey || event.altKey || event.metaKey) return;
      const [back, on] = [sound.currentTime - bar, sound.currentTime + bar];
      const moves = { ArrowLeft: back, ArrowDown: back, ArrowRight: on, ArrowUp: on,
        Home: 0, End: last };
      if (event.key === " " || event.key === "Enter")
        sound.paused ? sound.play().catch(() => {}) : sound.pause();
      else if (event.key in moves) jump(moves[event.key]);
      else return;
      event.preventDefault();
      event.stopPropagation(); // a notebook would take the arrows for its own
    });
  }
})();
