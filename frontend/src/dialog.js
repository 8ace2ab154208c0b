/**
 * A dialog behind a button: filled when it is asked for, closed by a press beside it.
 *
 * @param {HTMLButtonElement} button
 * @param {HTMLDialogElement} dialog
 * @param {() => Promise<void>} fill
 * @param {(error: Error) => void} failed
 */
export function opensDialog(button, dialog, fill, failed) {
  button.addEventListener('click', async () => {
    button.disabled = true;
    try {
      await fill();
      dialog.showModal();
    } catch (error) {
      failed(/** @type {Error} */ (error));
    } finally {
      button.disabled = false;
    }
  });
  dialog.addEventListener('click', (event) => {
    if (event.target === dialog) dialog.close();
  });
}
